"""Findings of ``spikestore doctor``, and the checks that yield findings.

A check is an entry point of the group ``spikestore.checks``: a function without arguments that yields findings. The name
of the entry point is the topic under which the findings of the check are shown. The store does not import the other packages,
so each package registers its own check.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from spikestore.store_schemas.errors import SpikestoreError

GROUP = "spikestore.checks"
"""Entry point group of the checks."""

State = Literal["ok", "absent", "problem"]
"""``ok``: what was checked works; ``absent``: it is missing, which is not an error; ``problem``: something does not work and has to be fixed."""


@dataclass(frozen=True)
class Finding:
    """One result of a check.

    Attributes
    ----------
    what : str
        What was checked, such as ``"Python"``.
    state : {"ok", "absent", "problem"}
        Result of the check; see `State`.
    detail : str
        What was found.
    remedy : str, optional
        What to do; always given for a problem.
    """

    what: str
    state: State
    detail: str
    remedy: str | None = None


def findings_of_entry_points() -> Iterator[tuple[str, list[Finding]]]:
    """Yield the topic and the findings of each registered check, sorted by topic.

    If a check raises an error or cannot be imported, its last finding is a ``problem`` that describes the error. If the
    import fails because a package is not installed, the state of this finding is ``absent`` instead.
    """
    for point in sorted(importlib.metadata.entry_points(group=GROUP)):
        try:
            check: Callable[[], Iterable[Finding]] = point.load()
        except ModuleNotFoundError as error:
            missing = f"{error.name or error} is not installed"
            remedy = "install the package that is missing"
            if point.value.startswith("spikestore."):
                remedy = f"to use spikestore.{point.name}, run pip install 'spikestore[{point.name}]'"
            yield point.name, [Finding("packages", "absent", missing, remedy)]
            continue
        except Exception as error:  # a broken package may raise anything
            yield point.name, [_ended_with(error)]
            continue
        yield point.name, findings_of(check)


def findings_of(check: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """Return the findings of a check; if the check raises an error, the last finding is a problem that describes this error."""
    found: list[Finding] = []
    try:
        for finding in check():
            found.append(finding)  # noqa: PERF402 - findings before an error are kept
    except (SpikestoreError, OSError) as error:
        found.append(Finding("check", "problem", str(error), "see the message above"))
    except Exception as error:  # a broken package may raise anything when it is imported
        found.append(_ended_with(error))
    return found


def _ended_with(error: Exception) -> Finding:
    text = f"{type(error).__name__}: {error}".splitlines()[0]
    return Finding("check", "problem", f"the check ended with {text}", "install the package again")


def versions(*distributions: str) -> Iterator[Finding]:
    """Yield a finding for each distribution: its version, or that it is not installed."""
    for name in distributions:
        try:
            yield Finding(name, "ok", importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            yield Finding(name, "absent", "not installed")
