"""Hypothesis strategies for the tests of authors of operations, readers or stores; no other package imports them."""
