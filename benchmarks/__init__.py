"""Benchmarks: ours against the peers, side by side. ``python -m benchmarks.NAME --help``."""
