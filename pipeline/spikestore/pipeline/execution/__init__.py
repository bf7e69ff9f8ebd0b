"""Execution: the task that builds one fragment, and the schedulers that run these tasks."""
