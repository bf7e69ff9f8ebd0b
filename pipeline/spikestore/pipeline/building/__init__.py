"""From a recipe to committed feature sets."""
