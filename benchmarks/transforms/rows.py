"""All rows, in the order of the table: functions that get a `Scale` and return a row."""

from benchmarks.transforms import denoising, derived, papers

ROWS = [*papers.ROWS, *denoising.ROWS, *derived.ROWS]
