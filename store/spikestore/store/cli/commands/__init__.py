"""Sub-commands that look at a store; light to import, what is heavy comes inside the functions."""
