"""Recipes: read a recipe and its lock, and find out which of its feature sets exist."""
