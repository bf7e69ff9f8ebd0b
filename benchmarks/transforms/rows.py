"""All rows, in the order of the table: functions that get a `Scale` and return a row."""

from benchmarks.transforms import papers

ROWS = [*papers.ROWS]
