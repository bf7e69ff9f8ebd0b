"""Which recipe is meant, and what it asks for."""
