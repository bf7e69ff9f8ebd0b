"""Sub-commands that train and evaluate; heavy imports are inside the functions."""
