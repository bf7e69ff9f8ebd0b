"""Dense frames, written by compiled loops."""
