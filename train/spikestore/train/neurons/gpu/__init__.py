"""Passes over time on the GPU, compiled by Triton."""
