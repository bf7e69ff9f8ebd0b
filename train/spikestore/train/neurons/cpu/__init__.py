"""Forward and backward passes over time on the CPU, compiled by numba."""
