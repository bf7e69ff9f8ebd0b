"""Frames of real numbers."""
