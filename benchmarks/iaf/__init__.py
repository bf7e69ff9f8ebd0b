"""Networks of neurons against peers: ``python -m benchmarks.iaf``."""
