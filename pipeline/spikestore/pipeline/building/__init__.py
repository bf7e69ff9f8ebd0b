"""Building: from a recipe to committed feature sets."""
