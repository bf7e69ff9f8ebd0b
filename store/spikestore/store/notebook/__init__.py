"""How a store and a feature set are shown in a notebook."""
