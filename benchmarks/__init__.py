"""Benchmarks that compare spikestore with its peers: ``python -m benchmarks.NAME --help``.

A *peer* is another library that does the same work. *The seed* is the blog post of 2022 from which spikestore grew, "Training spiking
neural networks, fast": its transform, its network and its results are compared with ours.
"""
