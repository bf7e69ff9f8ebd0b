"""Sources: the files of a data set's split, identified by their hashes."""
