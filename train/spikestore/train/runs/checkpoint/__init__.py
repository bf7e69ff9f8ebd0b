"""Checkpoints: content, files, validation and restoring."""
