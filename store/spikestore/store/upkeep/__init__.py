"""Upkeep of a store: verify and repair feature sets; remove feature sets without a name, and unfinished builds."""
