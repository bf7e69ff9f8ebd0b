"""Feature sets from one store to another."""
