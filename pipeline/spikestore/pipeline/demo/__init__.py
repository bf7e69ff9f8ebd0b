"""The demo recordings."""
