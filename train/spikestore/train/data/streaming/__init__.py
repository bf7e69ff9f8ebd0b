"""Streaming: reads the samples of batches from the store during training."""
