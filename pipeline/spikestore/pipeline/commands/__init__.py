"""Sub-commands that need the pipeline. Large packages are imported only when a sub-command runs."""
