"""The Python blocks of README and docs run as they are, and the values in their comments are correct."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.scenarios.command_runs import Commands
from tests.scenarios.conftest import Built

from spikestore.store import Store
from spikestore.train.runs.config import TrainConfig
from spikestore.train.runs.run import run

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINE = re.compile(r"^(?P<indent> *)(?:(?P<target>\w+) = .*|.*?) +# (?P<comment>.*)$")
SHOWN = re.compile(r"(?:(?P<name>\w+): )?(?P<dtype>u?int\d+|float\d+) \((?P<axes>[\w, ]+)\)")
COMPARE = """
def _is_array(value, dtype, axes):
    found = str(value.dtype).rpartition(".")[2], value.ndim
    assert found == (dtype, axes), f"the page says {dtype} with {axes} axes, there is {found}"

"""


def compared(block: str) -> str:
    """Return a block with an assertion after each line that has a comment; a comment without anything to compare fails.

    Supported comments are ``# float32 (batch, time, x)`` after an assignment, with ``name: `` before it for a name of the
    line, and ``# columns: index, value`` for attributes.
    """
    lines = []
    for line in block.splitlines():
        lines.append(line)
        match = LINE.match(line)
        if match is None:
            assert "#" not in line, f"nothing compares this comment: {line}"
            continue
        comment = match["comment"]
        if shown := SHOWN.fullmatch(comment):
            check = f"_is_array({shown['name'] or match['target']}, {shown['dtype']!r}, {shown['axes'].count(',') + 1})"
        else:
            assert comment.startswith("columns: "), f"nothing compares this comment: {line}"
            names = comment.removeprefix("columns: ").split(", ")
            check = f"assert all(hasattr({match['target']}, name) for name in {names})"
        lines.append(f"{match['indent']}{check}")
    return "\n".join(lines) + "\n"


def test_comments_are_compared() -> None:
    """Wrong comments fail, and so do comments that cannot be compared."""
    wrong = ("x = np.zeros(3, np.int16)  # int32 (samples)", "x = np.zeros(3)  # float64 (samples, bins)", "x = np.zeros(3)  # columns: dtype, nothing", "for x in [np.zeros(3)]:\n    ...  # x: float32 (samples)")  # fmt: skip
    for text in wrong:
        with pytest.raises(AssertionError):
            exec(f"import numpy as np\n{COMPARE}{compared(text)}", {})  # noqa: S102 our own text
    for right in ("x = np.zeros(3)  # float64 (samples)", "x = np.zeros(3)  # columns: dtype, ndim"):
        exec(f"import numpy as np\n{COMPARE}{compared(right)}", {})  # noqa: S102
    with pytest.raises(AssertionError, match="nothing compares this comment"):
        compared("x = 3  # the third")


LONGER_PAGES = (
    "docs/index.md",
    "docs/howto/papers.md",
    "docs/training.md",
    "docs/loading.md",
    "docs/exports.md",
    "docs/looking.md",
    "docs/report.md",
)

RUN_PAGES = """
import json, os, sys, traceback
failures = {}
for folder, page in json.loads(sys.argv[1]).items():
    os.chdir(folder)
    script = open("page.py", encoding="utf-8").read()
    try:
        exec(compile(script, page, "exec"), {"__name__": "__main__"})
    except (Exception, SystemExit):
        failures[page] = traceback.format_exc()
sys.exit("\\n".join(f"{page}: {failure}" for page, failure in failures.items()) or 0)
"""
"""Runs pages in one process, because each process imports torch for some seconds."""


@pytest.mark.parametrize("shown", [("README.md",), pytest.param(LONGER_PAGES, marks=pytest.mark.slow)])
def test_python_blocks_run(built: Built, demo: Path, tmp_path: Path, shown: tuple[str, ...]) -> None:
    """All blocks of a page run as one script without a main guard, in a folder with data/ and feature_store/."""
    pages = {}
    for number, page in enumerate(shown):
        folder = tmp_path / str(number)
        blocks = BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))
        assert len(blocks) >= 2
        shutil.copytree(built.store, folder / "feature_store")
        (folder / "page.py").write_text(COMPARE + "\n".join(map(compared, blocks)), encoding="utf-8")
        if "runs/demo" in "".join(blocks):
            _train(folder)
        (folder / "data").mkdir()
        (folder / "data/SSC").symlink_to(demo / "SSC")  # for Tonic's data set
        (folder / "data/demo").symlink_to(demo)  # where `make preprocess` creates it
        pages[str(folder)] = page
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning:spikestore", "-c", RUN_PAGES, json.dumps(pages)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def _train(folder: Path) -> None:
    """Train the run whose checkpoint the page loads."""
    plan = {"epochs": 1, "data": {"name": "demo"}, "network": {"hidden": [8]}}
    config = TrainConfig.from_mapping(plan, origin="test")
    run(config, Store(folder / "feature_store"), folder / "runs/demo", device="cpu", progress=lambda *_: None)


@pytest.mark.slow
def test_commands_of_the_training_page_run(built: Built, with_torch_commands: Commands) -> None:
    """The console blocks run unchanged, in a folder with feature_store/ and configs/; only TensorBoard is not started."""
    folder = with_torch_commands.folder
    shutil.copytree(built.store, folder / "feature_store")
    shutil.copytree(ROOT / "configs", folder / "configs")
    page = (ROOT / "docs/training.md").read_text(encoding="utf-8")
    lines = re.findall(r"^\$ spikestore (.+)$", page, re.MULTILINE)
    assert [line.split()[0] for line in lines] == ["train", "evaluate"]
    for line in lines:
        with_torch_commands.well(*line.split())
    assert "accuracy on test" in with_torch_commands.well(*lines[1].split()).out


def test_every_path_in_the_readme_exists() -> None:
    """Files to which README and docs point exist."""
    for page in (
        "README.md",
        "docs/index.md",
        "docs/training.md",
        "docs/loading.md",
        "docs/exports.md",
        "docs/tonic.md",
    ):
        text = (ROOT / page).read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([^):#]+)\)", text) + re.findall(
            r"`((?:docs|recipes|configs|tests)/[\w./]+)`", text
        ):
            there = ROOT / target if (ROOT / target).exists() else (ROOT / page).parent / target
            assert there.exists(), f"{page}: {target}"
