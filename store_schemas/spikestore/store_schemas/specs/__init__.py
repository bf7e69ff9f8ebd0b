"""What enters a key: sources, transforms, recipes."""
