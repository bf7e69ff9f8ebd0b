"""All rows of ``benchmarks.transforms``, in the order in which its table shows them: functions that get a `Scale` and return a row."""

from benchmarks.transforms import denoising, derived, papers, real_numbers

ROWS = [*papers.ROWS, *denoising.ROWS, *derived.ROWS, *real_numbers.ROWS]
