"""The passes on the GPU, compiled by Triton."""
