"""Transforms: from recordings to samples."""
