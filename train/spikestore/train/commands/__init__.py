"""Sub-commands that train and evaluate. Their functions import large packages when they run."""
