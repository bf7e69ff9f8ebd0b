"""Growing data sets: a new set takes over the rows that committed sets have already."""
