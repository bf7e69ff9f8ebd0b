"""Peers that benchmarks compare with, each in an environment of its own: ``python -m benchmarks.peers`` makes the environments."""
