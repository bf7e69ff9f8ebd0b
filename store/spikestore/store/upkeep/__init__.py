"""Upkeep of a store: verify and repair feature sets, and remove unfinished builds and feature sets without a name."""
