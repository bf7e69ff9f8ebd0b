"""Recipes: reading, locking and resolving them."""
