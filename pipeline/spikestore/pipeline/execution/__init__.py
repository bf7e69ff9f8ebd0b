"""Execution: fragment tasks, and the schedulers that run them."""
