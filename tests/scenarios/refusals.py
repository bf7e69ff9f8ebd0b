"""Functions for the tests of failures: they run the command line in this process, and check the form of its error."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.scenarios.command_runs import manifests


@dataclass(frozen=True)
class Answer:
    """Result of a command."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it wrote to stdout, parsed."""
        return json.loads(self.out)

    @property
    def said(self) -> list[str]:
        """Lines on stderr except those of progress."""
        return [line for line in self.err.splitlines() if " samples" not in line]


Run = Callable[..., Answer]


def well(run: Run, *arguments: str | Path) -> Answer:
    """Run a command that must succeed."""
    answer = run(*arguments)
    assert answer.status == 0, answer.err
    return answer


def build(run: Run, recipe: Path | str, *more: str | Path) -> Answer:
    """Preprocess what is in ``data`` into ``store``."""
    return run("preprocess", recipe, "--data", "data", "--store", "store", "--workers", "0", *more)


def refused(answer: Answer, status: int, *words: str) -> None:
    """Assert status and key words of the one line, and that nothing was committed, named or locked."""
    assert answer.status == status, answer.err
    assert answer.out == ""
    assert answer.said[0].startswith("spikestore: error: ")
    assert sum(line.startswith("spikestore: ") for line in answer.said) == 1
    for word in words:
        assert word in answer.err
    assert manifests(Path("store")) == []
    assert not Path("store/refs").exists()
    assert not list(Path().glob("*.lock"))
