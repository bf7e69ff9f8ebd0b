"""Sub-commands that fill a store; heavy imports are inside the functions."""
