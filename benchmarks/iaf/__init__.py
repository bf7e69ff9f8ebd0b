"""Speed of networks of neurons, compared with other libraries: ``python -m benchmarks.iaf``."""
