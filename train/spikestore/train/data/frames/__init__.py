"""Builds dense frames with compiled loops."""
