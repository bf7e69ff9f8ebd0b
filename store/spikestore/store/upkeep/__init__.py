"""Upkeep of a store: verify and repair feature sets, and remove objects that no name refers to."""
