"""Sub-commands that fill a store; light to import, what is heavy comes inside the functions."""
