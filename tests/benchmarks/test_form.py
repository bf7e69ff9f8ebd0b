"""`benchmarks.form`: the choice of the rows to run."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

import pytest
from benchmarks.form import measured, wanted_rows
from tests.benchmarks.bench_runs import bench


def host(bench: Any) -> None:
    """Measure nothing."""


def stream(bench: Any) -> None:
    """Measure nothing."""


def stream_s3(bench: Any) -> None:
    """Measure nothing."""


ROWS = [host, stream, stream_s3]


@pytest.mark.parametrize(
    ("rows", "wanted"),
    [
        (None, ROWS),
        ("ho", [host]),
        ("s3", [stream_s3]),
        ("s3,host", [host, stream_s3]),
        ("stream,", ROWS[1:]),
    ],
)
def test_rows_that_were_asked_for(rows: str | None, wanted: list[Any]) -> None:
    """Rows are selected by a part of their names, or by several parts."""
    assert wanted_rows(ROWS, Namespace(rows=rows)) == wanted


def test_rows_are_announced(capsys: pytest.CaptureFixture[str]) -> None:
    """Each row's name is written to stderr before it is measured, so that a long benchmark does not look like one that hangs."""
    shown: list[str] = []

    def run(row: Any) -> str:
        shown.append(capsys.readouterr().err)
        return str(row.__name__)

    assert measured(ROWS, run) == ["host", "stream", "stream_s3"]
    assert shown == ["row 1 of 3: host\n", "row 2 of 3: stream\n", "row 3 of 3: stream_s3\n"]


def test_a_name_that_fits_no_row_is_an_error_at_once() -> None:
    """A table without rows would look like a benchmark that has run."""
    done = bench("loading", "--rows", "device,gpu")
    assert done.returncode == 1
    assert done.stderr.startswith("--rows: no row's name contains 'gpu'; they are host, ")
    assert done.stdout == ""
