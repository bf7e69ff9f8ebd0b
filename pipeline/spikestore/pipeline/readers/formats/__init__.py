"""Formats of event files: from the bytes of a file to columns of events."""
