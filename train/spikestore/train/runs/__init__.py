"""Training runs: the training loop, its configuration, its folder and its checkpoints."""
