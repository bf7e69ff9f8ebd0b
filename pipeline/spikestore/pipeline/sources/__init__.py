"""Sources: files of recordings and their hashes."""
