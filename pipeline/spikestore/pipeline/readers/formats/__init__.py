"""Formats of event files: functions that return columns of events from the bytes of a file."""
