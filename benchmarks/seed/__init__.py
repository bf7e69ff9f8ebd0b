"""The complete experiment of the seed, a blog post of 2022 (docs/seed.md): ``python -m benchmarks.seed``."""
