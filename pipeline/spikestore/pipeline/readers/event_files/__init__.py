"""Data sets with one file per recording, a module each."""
