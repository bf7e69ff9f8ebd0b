"""Formats of the family AEDAT, of iniVation and jAER."""
