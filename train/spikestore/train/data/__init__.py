"""Data: loads feature sets and yields their samples as batches."""
