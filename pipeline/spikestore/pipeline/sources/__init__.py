"""Raw files and their hashes."""
