"""The passes on the CPU, compiled by numba."""
