"""Sub-commands that fill a store. Their functions import large packages when they run."""
