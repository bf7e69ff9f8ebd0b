"""Sub-commands that fill a store. Large packages are imported only when a sub-command runs."""
