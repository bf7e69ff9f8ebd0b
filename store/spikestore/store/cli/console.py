"""Console output shared by all commands: results on stdout, everything else on stderr.

Library code reports progress to a `Progress` callback, and messages to `logging`; it never prints. Commands create the callback
with :func:`progress`. They write results with :func:`print_json` or to :func:`stdout_console`.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from spikestore.store.progress import Progress
from spikestore.store_schemas.redaction import redacted
from spikestore.store_schemas.wording import size_text

if TYPE_CHECKING:
    from rich.console import Console  # 20 ms, and most commands that fail early need none

__all__ = [
    "copy_lines",
    "logs_on_stderr",
    "print_json",
    "progress",
    "progress_lines",
    "say",
    "stderr_console",
    "stdout_console",
    "visible",
]

_WIDTH_OF_PIPES = 1000


def say(text: str) -> None:
    """Write one line to stderr, with credentials in URLs removed."""
    # Looked up at each call: a progress bar replaces the stream while it is shown.
    sys.stderr.write(f"{redacted(text)}\n")
    sys.stderr.flush()


def visible(line: str) -> str:
    """Return a line with escapes instead of control characters: names in a malicious store may contain such characters."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in line)


def print_json(document: Any) -> None:
    """Write a document of plain JSON values to stdout, for programs."""
    sys.stdout.write(f"{json.dumps(document, indent=2, allow_nan=False)}\n")


def stderr_console() -> Console:
    """Return a rich console on stderr, for progress bars."""
    from rich.console import Console

    return Console(stderr=True)


def stdout_console() -> Console:
    """Return a rich console on stdout, for tables; in a pipe, lines of up to 1,000 characters are neither wrapped nor cut."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else _WIDTH_OF_PIPES, highlight=False)


@contextlib.contextmanager
def logs_on_stderr(*, verbose: bool = False, quiet: bool = False) -> Iterator[None]:
    """Show the log of ``spikestore`` on stderr, from level INFO; DEBUG if `verbose`, WARNING if `quiet`."""
    logger = logging.getLogger("spikestore")
    level = logger.level
    handler = _StderrHandler()
    logger.setLevel(logging.DEBUG if verbose else logging.WARNING if quiet else logging.INFO)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


class _StderrHandler(logging.Handler):
    """Writes log records with :func:`say`; a record of another level than INFO begins with the name of its level."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record)
            say(text if record.levelno == logging.INFO else f"{record.levelname.lower()}: {text}")
        except Exception:
            self.handleError(record)


@contextlib.contextmanager
def progress(unit: str = "samples") -> Iterator[Progress]:
    """Show progress on stderr: on a terminal, bars; elsewhere, a line at the start, every 10 seconds and at the end; with ``--quiet``, nothing.

    Parameters
    ----------
    unit : str
        Unit of the counts, for the rate.

    Yields
    ------
    Progress
        The callback. It shows a rate for each label. The count in the first call with a label is left out of the rate, because
        a resumed build begins with the work of earlier builds.
    """
    if not logging.getLogger("spikestore").isEnabledFor(logging.INFO):
        yield lambda done, total, label: None
    elif sys.stderr.isatty():
        with _bars(unit) as report:
            yield report
    else:
        yield progress_lines(unit)


@contextlib.contextmanager
def _bars(unit: str) -> Iterator[Progress]:
    from rich import progress as rich_progress
    from rich.text import Text

    class Rate(rich_progress.ProgressColumn):
        """Column of a progress bar that shows the units per second."""

        def render(self, task: rich_progress.Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text("" if speed is None else f"{speed:,.0f} {unit}/s")

    of_bytes = unit == "bytes"
    columns = (
        rich_progress.TextColumn("{task.description}"),
        rich_progress.BarColumn(),
        rich_progress.DownloadColumn() if of_bytes else rich_progress.MofNCompleteColumn(),
        rich_progress.TransferSpeedColumn() if of_bytes else Rate(),
        rich_progress.TimeRemainingColumn(elapsed_when_finished=True),
    )
    tasks: dict[str, rich_progress.TaskID] = {}
    with rich_progress.Progress(*columns, console=stderr_console(), speed_estimate_period=60) as bars:

        def report(done: int, total: int, label: str) -> None:
            if label not in tasks:
                tasks[label] = bars.add_task(label, completed=done, total=total)
            bars.update(tasks[label], completed=done, total=total)

        yield report


def copy_lines() -> Progress | None:
    """Return a progress callback that writes lines, for copies that are a part of other work; with ``--quiet``, return None."""
    return progress_lines("bytes") if logging.getLogger("spikestore").isEnabledFor(logging.INFO) else None


def progress_lines(
    unit: str = "samples", every: float = 10.0, clock: Callable[[], float] = time.monotonic
) -> Progress:
    """Return a callback that writes progress to stderr: a line at the start, every `every` seconds and at the end.

    The label that each call passes is the name of the work, and begins the line. Each label has its own start and end.
    Rate and remaining time are measured from the first progress on, because workers may start slowly; the last line has
    the rate over the whole time.
    """
    started: dict[str, tuple[float, int]] = {}
    moved: dict[str, tuple[float, int]] = {}
    said: dict[str, float] = {}
    finished: set[str] = set()

    def report(done: int, total: int, label: str) -> None:
        now = clock()
        began, before = started.setdefault(label, (now, done))
        if done > before:
            moved.setdefault(label, (now, done))
        if label in finished or (done < total and now - said.get(label, -every) < every):
            return
        said[label] = now
        if done >= total:
            finished.add(label)
        since, first = (began, before) if done >= total else moved.get(label, (now, done))
        # Fragments of several workers end in bursts, so the first one does not indicate a rate.
        steady = now - since >= every / 2 or done >= total
        rate = (done - first) / (now - since) if steady and now > since else 0.0
        amount = size_text if unit == "bytes" else "{:,.0f}".format
        noun = "" if unit == "bytes" else f" {unit}"
        line = f"{label}: {amount(done)} of {amount(total)}{noun}"
        if rate:
            line += f", {amount(rate)}/s"
            line += (
                f", {duration_text((total - done) / rate)} left"
                if done < total
                else f" in {duration_text(now - began)}"
            )
        say(line)

    return report


def duration_text(seconds: float) -> str:
    """Return a time: ``59 s``, ``2 min 0 s``, ``1 h 30 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
