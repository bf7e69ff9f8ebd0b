"""The Python blocks of README and docs run as they stand."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.scenarios.command_runs import Commands
from tests.scenarios.conftest import Built

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", ["README.md", "docs/training.md", "docs/loading.md"])
def test_python_blocks_run(built: Built, demo: Path, tmp_path: Path, page: str) -> None:
    """All blocks of a page, one after another as one script without a main guard, where data/ and feature_store/ are."""
    blocks = BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))
    assert len(blocks) >= 2
    script = tmp_path / "page.py"
    script.write_text("\n".join(blocks), encoding="utf-8")
    shutil.copytree(built.store, tmp_path / "feature_store")
    (tmp_path / "data").symlink_to(demo)
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning:spikestore", script],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_commands_of_the_training_page_run(built: Built, with_torch_commands: Commands) -> None:
    """The console blocks run as they stand, where feature_store/ and configs/ are; TensorBoard alone is not started."""
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
    """Files that README and docs point to are there."""
    for page in ("README.md", "docs/training.md", "docs/loading.md", "docs/tonic.md"):
        text = (ROOT / page).read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([^):#]+)\)", text) + re.findall(
            r"`((?:docs|recipes|configs|tests)/[\w./]+)`", text
        ):
            there = ROOT / target if (ROOT / target).exists() else (ROOT / page).parent / target
            assert there.exists(), f"{page}: {target}"
