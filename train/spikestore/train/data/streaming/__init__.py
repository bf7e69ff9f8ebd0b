"""Reads batches from the store during training."""
