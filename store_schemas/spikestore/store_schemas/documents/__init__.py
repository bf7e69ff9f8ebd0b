"""The documents of a store, as models."""
