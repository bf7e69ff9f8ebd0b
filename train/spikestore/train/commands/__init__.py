"""Sub-commands that train; light to import, what is heavy comes inside the functions."""
