"""All rows, in the order of the table: functions that get a `Scale` and return a row."""

from benchmarks.transforms import denoising, derived, papers, real_numbers

ROWS = [*papers.ROWS, *denoising.ROWS, *derived.ROWS, *real_numbers.ROWS]
