"""All rows of ``benchmarks.transforms``, in the order of its table. Each entry is a function that gets a `Scale`, and measures and returns a row."""

from benchmarks.transforms import denoising, derived, papers, real_numbers

ROWS = [*papers.ROWS, *denoising.ROWS, *derived.ROWS, *real_numbers.ROWS]
