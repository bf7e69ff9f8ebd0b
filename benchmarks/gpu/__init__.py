"""Everything that needs a GPU, by one command: ``python3 -m benchmarks.gpu``. Its own modules need no package."""
