"""Pydantic models of the documents in a store."""
