"""Passes over time on the CPU, compiled by numba."""
