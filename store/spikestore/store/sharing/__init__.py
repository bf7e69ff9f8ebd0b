"""Copies of feature sets from one store to another."""
