"""Checkpoints: write, read and validate them, and restore a training run from one."""
