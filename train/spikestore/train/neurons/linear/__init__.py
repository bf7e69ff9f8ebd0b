"""A linear layer and the neurons behind it as one step."""
