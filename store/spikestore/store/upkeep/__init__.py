"""Verify, repair, and remove what nothing refers to."""
