"""From feature sets to batches."""
