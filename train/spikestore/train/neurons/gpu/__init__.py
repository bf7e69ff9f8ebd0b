"""Forward and backward passes over time on the GPU, compiled by Triton."""
