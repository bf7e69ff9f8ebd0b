"""The tutorial as a notebook: ``python -m tests.site.notebook`` writes ``docs/tutorial.ipynb`` from ``docs/tutorial.md``.

The cells are the steps that `tests.site.walk` runs, with the outputs that the page shows. `test_tutorial.py` executes them in a kernel.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from tests.site.walk import Step, steps_of

PAGE = Path(__file__).parents[2] / "docs/tutorial.md"
_FOLDER = "%mkdir -p spikestore-tutorial\n%cd spikestore-tutorial"
"""The first cell: no step writes into the folder of the notebook itself."""


def notebook_of(page: str) -> str:
    """Return a page as a notebook of format 4.5.

    Parameters
    ----------
    page : str
        Markdown, with blocks as `tests.site.walk` describes them.
    """
    cells = [_code(_FOLDER), *map(_cell, steps_of(page))]
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    document = {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(document, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def left_on_a_terminal(text: str) -> str:
    """Return what a command in a notebook leaves on its terminal, without colours and progress bars.

    rich clears lines (``2K``) and goes up (``1A``) to draw its bars again.
    """
    lines, row = [""], 0
    for part in re.findall(r"\x1b\[[\d;?]*[A-Za-z]|\r|\n|[^\x1b\r\n]+", text):
        if part == "\n":
            row += 1
            lines += [""] * (row == len(lines))
        elif part == "\x1b[1A":
            row -= 1
        elif part == "\x1b[2K":
            lines[row] = ""
        elif part[0] not in "\x1b\r":
            lines[row] += part
    return "\n".join(line for line in lines if "━" not in line)


def _cell(step: Step) -> dict[str, Any]:
    if step.kind == "prose":
        return {"cell_type": "markdown", "metadata": {}, "source": _lines(step.text)}
    if step.kind == "file":
        return _code(f"%%writefile {step.title}\n{step.text}")
    return _code(f"!{step.text}" if step.kind == "console" else step.text, step.shown)


def _code(text: str, output: str = "") -> dict[str, Any]:
    shown = [{"name": "stdout", "output_type": "stream", "text": _lines(output)}] if output else []
    source = _lines(text.rstrip("\n"))
    return {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": shown, "source": source}


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


if __name__ == "__main__":
    PAGE.with_suffix(".ipynb").write_text(notebook_of(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
