"""Sub-commands for stores; their functions import large packages when they run."""
