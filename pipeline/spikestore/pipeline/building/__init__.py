"""Building: compute the feature sets of a recipe and commit them."""
