"""Common form of all benchmarks: interleaved rounds, ratios, JSON and a table.

A row compares our work with a peer's in the same process tree. In each round both sides run once, or several times if
the work is short, in alternating order. The row's value is the median of the ratios of the rounds; the minimum and
maximum of the ratios are printed beside the median. A row that could not run has a reason instead of a number. A target
that is missed is printed as missed, and the exit status is still 0: a benchmark measures, and a test judges.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

ROUNDS = 5

PINNED = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"
)
"""One thread for each worker, ours and the peers'."""


@dataclass
class Row:
    """One comparison.

    Attributes
    ----------
    name : str
        What is compared.
    target, stretch : float, optional
        Target, and a more ambitious target.
    better : {"higher", "lower"}
        Whether higher or lower values than `target` meet it.
    ratios : list of float
        The ratio of each round.
    ours, peer : dict
        Medians of the measured numbers of each side; the keys contain the units.
    skipped : str, optional
        Reason why there is no number.
    """

    name: str
    target: float | None = None
    stretch: float | None = None
    better: str = "higher"
    ratios: list[float] = field(default_factory=list)
    ours: dict[str, float] = field(default_factory=dict)
    peer: dict[str, float] = field(default_factory=dict)
    skipped: str | None = None

    def to_mapping(self) -> dict[str, Any]:
        """Return the row as it is written to the JSON document of the results."""
        row: dict[str, Any] = {"name": self.name}
        if self.skipped is not None:
            return {**row, "skipped": self.skipped}
        row |= {"value": statistics.median(self.ratios), "low": min(self.ratios), "high": max(self.ratios)}
        return {
            **row,
            "target": self.target,
            "stretch": self.stretch,
            "better": self.better,
            "ours": self.ours,
            "peer": self.peer,
        }

    def verdict(self) -> str:
        """Return "stretch" if the more ambitious target is met, "met" if only the target is met, else "MISSED"; "-" without a number or a target."""
        if self.skipped is not None or self.target is None:
            return "-"
        value, sign = statistics.median(self.ratios), 1 if self.better == "higher" else -1
        if self.stretch is not None and sign * value >= sign * self.stretch:
            return "stretch"
        return "met" if sign * value >= sign * self.target else "MISSED"


def compare(
    row: Row,
    ours: Callable[[], float],
    peer: Callable[[], float],
    *,
    unit: str,
    rounds: int = ROUNDS,
    turns: int = 1,
) -> Row:
    """Run both sides by turns, and fill the row with rates. The side that runs first changes from turn to turn.

    Parameters
    ----------
    row : Row
        The row to fill; it is returned.
    ours, peer : callable
        Do their work once, and return a rate; a higher rate is better.
    unit : str
        Unit of the rates.
    rounds : int
        Number of rounds.
    turns : int
        Number of times that both sides run in a round; the best rate of each side counts. Use more than 1 for short work,
        during which another process may slow down only one side.
    """
    rates: dict[Callable[[], float], list[float]] = {ours: [], peer: []}
    for number in range(rounds):
        best = dict.fromkeys(rates, 0.0)
        for turn in range(number, number + turns):
            for side in (ours, peer) if turn % 2 == 0 else (peer, ours):
                best[side] = max(best[side], side())
        for side, rate in best.items():
            rates[side].append(rate)
    row.ratios = [mine / theirs for mine, theirs in zip(rates[ours], rates[peer], strict=True)]
    row.ours |= {unit: statistics.median(rates[ours])}
    row.peer |= {unit: statistics.median(rates[peer])}
    return row


def timed(work: Callable[[], object]) -> float:
    """Return the seconds that `work` takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def arguments(
    description: str,
    argv: Sequence[str] | None = None,
    *,
    more: Callable[[argparse.ArgumentParser], None] | None = None,
) -> argparse.Namespace:
    """Parse the options that all benchmarks have, and the options that `more` adds."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", type=Path, help="write the result here too")
    parser.add_argument(
        "--size",
        choices=("small", "full"),
        default="full",
        help="small: minutes, rough numbers; rows that start processes take as long with a few recordings",
    )
    parser.add_argument("--device", default="cpu", help="cpu or cuda, where it matters")
    parser.add_argument(
        "--data", type=Path, help="a folder in the layout of SSC or SHD, instead of demo recordings"
    )
    parser.add_argument("--rows", help="only rows whose name contains this, or one of these: NAME,NAME")
    if more is not None:
        more(parser)
    return parser.parse_args(argv)


def is_wanted(name: str, rows: str | None) -> bool:
    """Return whether ``--rows`` selects a row; without ``--rows``, all rows are selected."""
    return not rows or any(part in name for part in rows.split(",") if part)


_Measure = TypeVar("_Measure", bound=Callable[..., Any])


def wanted_rows(measures: Sequence[_Measure], options: argparse.Namespace) -> list[_Measure]:
    """Return the functions whose rows ``--rows`` selects.

    Raises
    ------
    SystemExit
        A part of ``--rows`` matches no row.
    """
    names = [measure.__name__ for measure in measures]
    for part in (options.rows or "").split(","):
        if part and not any(part in name for name in names):
            raise SystemExit(f"--rows: no row's name contains {part!r}; they are {', '.join(names)}")
    return [measure for measure in measures if is_wanted(measure.__name__, options.rows)]


_Result = TypeVar("_Result")


def measured(measures: Sequence[_Measure], run: Callable[[_Measure], _Result]) -> list[_Result]:
    """Call `run` with each function of `measures`, and return the results: one for each row of a benchmark.

    The name of each function is printed to stderr before the call, because a row may take minutes.
    """
    results = []
    for number, measure in enumerate(measures, 1):
        sys.stderr.write(f"row {number} of {len(measures)}: {measure.__name__}\n")
        sys.stderr.flush()
        results.append(run(measure))
    return results


def report(
    name: str, rows: Sequence[Row], data: dict[str, Any], options: argparse.Namespace
) -> dict[str, Any]:
    """Write the table to stdout, and the JSON to the file of ``--json`` if there is one; return the content of the JSON."""
    document = {
        "benchmark": name,
        "machine": {
            "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "python": platform.python_version(),
            "torch": _version("torch"),
            "device": options.device,
        },
        "data": data,
        "rows": [row.to_mapping() for row in rows],
    }
    if options.json is not None:
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    out = sys.stdout.write
    out(f"{name}: {document['machine']}, {data}\n")
    out(
        "| row | value | low to high | target | stretch | | ours | peer |\n|---|---|---|---|---|---|---|---|\n"
    )
    for row in rows:
        if row.skipped is not None:
            out(f"| {row.name} | - | - | | | skipped: {row.skipped} | | |\n")
            continue
        found = row.to_mapping()
        bound = {"higher": "≥", "lower": "≤"}[row.better]
        out(
            f"| {row.name} | {found['value']:.3g} | {found['low']:.3g} to {found['high']:.3g} "
            f"| {_bound(bound, row.target)} | {_bound(bound, row.stretch)} | {row.verdict()} "
            f"| {_figures(row.ours)} | {_figures(row.peer)} |\n"
        )
    return document


def _bound(sign: str, value: float | None) -> str:
    return "" if value is None else f"{sign} {value:g}"


def _figures(figures: dict[str, float]) -> str:
    return ", ".join(f"{value:,.4g} {name}" for name, value in figures.items())


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
