"""Walk a page as a reader does: run its blocks in their order, and compare what they print with what the page shows.

    python -m tests.site.walk docs/tutorial.md FOLDER

FOLDER is created if it does not exist. Only the standard library is imported, so that any environment with spikestore can do this.

A block ``toml title="NAME"`` is a file of that name. A block ``console`` has commands after ``$``, each with its output. A block ``python`` is executed; a
block ``text`` after it is its output. A block ``bash`` is the installation: it is not run here.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

_FENCE = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
_COMMAND = re.compile(r"^\$ (.*)\n?((?:(?!\$ ).*\n?)*)", re.MULTILINE)
_OF_THIS_RUN = re.compile(r"\d[\d.,]*(?= ?(?:ms|s|min|[kM]?B/s|\w+/s)\b)")
"""Times and rates, which no run repeats."""

_DECIMAL = re.compile(r"\d+\.\d+")
TOLERANCE = 0.15
"""Accuracies after a few epochs differ between processors, because rounding decides whether a neuron spikes."""

_PROGRESS = re.compile(r"^.+: [\d.,]+(?: (?:[kM]?B|bytes))? of [\d.,]+ \w+(?:, .*)?\n", re.MULTILINE)
"""Lines that are a bar on a terminal, which is gone when the command ends."""

_STATUS = {"spikestore diff": 1}
"""Commands that end with another status than 0 although nothing failed: the two sets differ."""


class Step(NamedTuple):
    """One thing that a reader does, or reads; `shown` is the output on the page."""

    kind: Literal["prose", "file", "console", "python"]
    text: str
    shown: str = ""
    title: str = ""


class Walked(NamedTuple):
    """A step that was done; `wrong` is empty, or says what differs."""

    step: Step
    seconds: float
    wrong: str


def steps_of(page: str) -> Iterator[Step]:
    """Yield the steps of a page, and the prose between them.

    Parameters
    ----------
    page : str
        Markdown.

    Raises
    ------
    ValueError
        If a block has a language that nothing runs, or is the output of nothing.
    """
    prose, *rest = _FENCE.split(page)
    blocks = [*zip(rest[0::4], rest[1::4], rest[2::4], rest[3::4], strict=True)]
    for number, (language, title, text, after) in enumerate(blocks):
        if language == "bash":
            prose += f"```bash\n{text}```{after}"
            continue
        if language == "text" and number and blocks[number - 1][0] == "python":
            prose += after
            continue
        if prose.strip():
            yield Step("prose", prose.strip())
        prose = after
        if language == "console":
            for command, shown in _COMMAND.findall(text):
                yield Step("console", command, shown)
        elif language == "python":
            output = [block[2] for block in blocks[number + 1 : number + 2] if block[0] == "text"]
            yield Step("python", text, "".join(output))
        elif language == "toml" and title:
            yield Step("file", text, title=title)
        else:
            raise ValueError(f"nothing runs this block of {language}: {text}")
    if prose.strip():
        yield Step("prose", prose.strip())


def difference(shown: str, printed: str) -> str:
    """Return the first line that differs from the page, or an empty text.

    ``…`` on the page stands for any part of a line. Times and rates may differ, other numbers with a decimal point by `TOLERANCE`.
    """
    expected, lines = shown.split("\n"), printed.rstrip("\n").split("\n")
    for one, other in zip(expected, lines, strict=False):
        if not _same(one.rstrip(), other.rstrip()):
            return f"the page says\n  {one}\nand there is\n  {other}"
    return "" if len(expected) == len(lines) else f"the page says\n{shown}\nand there is\n{printed}"


def _same(shown: str, printed: str) -> bool:
    if "…" in shown:
        return re.fullmatch(".*".join(map(re.escape, shown.split("…"))), printed) is not None
    shown, printed = (_OF_THIS_RUN.sub("…", line) for line in (shown, printed))
    if _DECIMAL.sub("…", shown) != _DECIMAL.sub("…", printed):
        return False
    numbers = zip(_DECIMAL.findall(shown), _DECIMAL.findall(printed), strict=True)
    return all(abs(float(one) - float(other)) <= TOLERANCE for one, other in numbers)


def walk(page: Path, folder: Path) -> Iterator[Walked]:
    """Do the steps of a page in a folder, and yield each when it is done; the first that fails is the last.

    Parameters
    ----------
    page : Path
        A page whose blocks are described above.
    folder : Path
        Working directory of all steps.
    """
    names: dict[str, Any] = {"__name__": "__main__"}
    for step in steps_of(page.read_text(encoding="utf-8")):
        if step.kind == "prose":
            continue
        began = time.monotonic()
        printed, error = _done(step, folder, names)
        wrong = error or difference(step.shown.rstrip("\n"), printed)
        yield Walked(step, time.monotonic() - began, wrong)
        if error:
            return


def _done(step: Step, folder: Path, names: dict[str, Any]) -> tuple[str, str]:
    if step.kind == "file":
        (folder / step.title).write_text(step.text, encoding="utf-8")
        return "", ""
    if step.kind == "console":
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        command = ["bash", "-c", step.text]
        done = subprocess.run(
            command, cwd=folder, env={**os.environ, "PATH": path}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
        expected = _STATUS.get(" ".join(step.text.split()[:2]), 0)
        printed = _PROGRESS.sub("", done.stdout)
        return printed, "" if done.returncode == expected else f"exit status {done.returncode}:\n{printed}"
    output = io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(output):
        try:
            exec(compile(step.text, "page", "exec"), names)  # noqa: S102 the page's own code
        except Exception:  # of any kind: it is reported with its block
            return "", traceback.format_exc()
    return output.getvalue(), ""


def main(page: str, folder: str) -> int:
    """Print the seconds of each step, and what differs."""
    where = Path(folder).resolve()
    where.mkdir(parents=True, exist_ok=True)
    wrong = 0
    for walked in walk(Path(page), where):
        first = walked.step.title or walked.step.text.strip().splitlines()[0]
        sys.stdout.write(f"{walked.seconds:7.1f} s  {walked.step.kind:8}{first[:90]}\n")
        if walked.wrong:
            wrong += 1
            sys.stdout.write(f"{walked.wrong}\n")
    return min(wrong, 1)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
