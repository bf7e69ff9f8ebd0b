"""Data sets that other packages register: the package of docs/recipes.md, built as a wheel and put on the path."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hatchling.builders.wheel import WheelBuilder

from spikestore.pipeline.readers.registry import DATASETS
from spikestore.store import Store
from spikestore.store.upkeep.verify import verify

PAGE = Path(__file__).parents[3] / "docs" / "recipes.md"
STORED = np.dtype([("t", "<u4"), ("x", "u1"), ("y", "u1"), ("p", "u1"), ("unused", "u1")])
RECIPE = """
name = "wands"
[source]
dataset = "Wands"
data = "data"
[[transform]]
op = "to_frame"
sensor_size = [16, 16, 2]
time_window = 1000
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that has the package as an installer leaves it."""
    text = PAGE.read_text(encoding="utf-8")
    text = text[text.index("## Data sets of other packages") :]
    blocks = dict(re.findall(r"^```(toml|py)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
    project = tmp_path_factory.mktemp("wand_lab")
    (project / "pyproject.toml").write_text(blocks["toml"], encoding="utf-8")
    (project / "wand_lab.py").write_text(blocks["py"], encoding="utf-8")
    (wheel,) = WheelBuilder(str(project)).build(directory=str(project / "dist"), versions=["standard"])
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(project / "site")
    return project / "site"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a recipe and five recordings a class and split."""
    rng = np.random.default_rng(0)
    for split in ("Train", "Test"):
        for label in ("left", "right"):
            place = tmp_path / "data" / split / label
            place.mkdir(parents=True)
            for number in range(5):
                events = np.zeros(40, STORED)
                events["t"] = np.sort(rng.integers(0, 20_000, 40))
                for field, size in (("x", 16), ("y", 16), ("p", 2)):
                    events[field] = rng.integers(0, size, 40)
                (place / f"{number:03d}.bin").write_bytes(events.tobytes())
    (tmp_path / "wands.toml").write_text(RECIPE, encoding="utf-8")
    return tmp_path


def spikestore(folder: Path, path: Path | None, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line where `path` is on Python's path."""
    paths = [str(path)] if path is not None else []
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*paths, *sys.path])}
    command = [sys.executable, "-m", "spikestore.store", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_a_package_adds_a_data_set(installed: Path, folder: Path) -> None:
    """It is used through the command line; package, reader and version are in the key; a reader of the set needs no package."""
    done = spikestore(folder, installed, "preprocess", "wands.toml", "--store", "store", "--workers", "1")
    assert done.returncode == 0, done.stderr
    features = Store(folder / "store")["wands:train"]
    source = features.manifest.source
    assert (source.dataset, source.reader, source.reader_version) == ("Wands", "wand-lab.wand-bin", 1)
    assert verify(features, depth="deep") == []
    assert (features.classes, features.manifest.samples) == (("left", "right"), 10)
    columns = features.read()
    assert columns.label.tolist() == [0] * 5 + [1] * 5
    first = np.frombuffer((folder / "data/Train/left/000.bin").read_bytes(), STORED)
    counted = first["t"] < columns.n_bins[0] * 1000 + first["t"][0]
    assert columns.value[: columns.nnz[0]].sum() == counted.sum() > 30
    listed = spikestore(folder, None, "show", "wands:train", "--store", "store")
    assert (listed.returncode, "wand-lab.wand-bin version 1" in listed.stdout) == (0, True)


def test_without_the_package(folder: Path) -> None:
    """Without the package the data set is unknown: the error names it and the known ones."""
    done = spikestore(folder, None, "preprocess", "wands.toml", "--store", "store")
    assert done.returncode == 2
    assert "no dataset is called 'Wands'" in done.stderr
    assert f"known: {', '.join(DATASETS)}" in done.stderr


def changed(installed: Path, folder: Path, **files: str) -> Path:
    """Return a second package with these changes to its module and entry points."""
    site = folder / "site"
    metadata = site / "other_lab-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: Other_Lab\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[spikestore.datasets]\n{files['points']}\n")
    (site / "other_lab.py").write_text(files.get("module", "from wand_lab import WANDS\n"))
    return site


STICKS = """
from dataclasses import replace
from spikestore.pipeline.readers import FileTree
from wand_lab import WANDS
STICKS = replace(WANDS, name="Sticks", splits={"train": FileTree("Train", ".stick", ())})
"""


def test_recordings_alone_select_no_recipe(installed: Path, folder: Path) -> None:
    """A data set of a package has no shipped recipe: the error says how to write one, and this works."""
    site = changed(installed, folder, points="Sticks = other_lab:STICKS", module=STICKS)
    both = Path(os.pathsep.join([str(site), str(installed)]))
    (folder / "sticks/Train/left").mkdir(parents=True)
    (folder / "sticks/Train/left/0.stick").write_bytes(bytes(8))
    done = spikestore(folder, both, "preprocess", "--data", "sticks", "--store", "store")
    assert done.returncode == 2, done.stderr
    message = " ".join(done.stderr.split())
    assert "sticks has files of the data set Sticks, for which there is no shipped recipe" in message
    advice = "recipe --dataset Sticks --data sticks --sensor-size "
    assert f"run: spikestore {advice}X,Y,P" in message
    done = spikestore(folder, both, *f"{advice}16,16,2".split())
    assert (done.returncode, "wrote sticks-16x16-10ms.toml" in done.stdout + done.stderr) == (0, True)


@pytest.mark.parametrize(
    ("points", "module", "message"),
    [
        (
            "Wands = other_lab:WANDS",
            None,
            "the packages other-lab and wand-lab both register a data set Wands",
        ),
        ("Sticks = other_lab:WANDS", None, "the data set Sticks of the package other-lab can't be loaded"),
        ("Sticks = other_lab:STICKS", "1 / 0", "(ZeroDivisionError: division by zero)"),
        (
            "SSC = other_lab:WANDS",
            None,
            "the package other-lab registers a data set SSC, but spikestore has a data set of this name: the data set of spikestore is used",
        ),
    ],
    ids=["same name", "other name", "broken", "ours"],
)
def test_packages_that_are_at_fault_are_named(
    installed: Path, folder: Path, points: str, module: str | None, message: str
) -> None:
    """A faulty data set that nobody requested is a warning where a folder is searched, and never affects the others."""
    site = changed(installed, folder, points=points, **({} if module is None else {"module": module}))
    both = Path(os.pathsep.join([str(site), str(installed)]))
    name = "Sticks" if points.startswith("Sticks") else "Wands"
    (folder / "wands.toml").write_text(RECIPE.replace("Wands", name), encoding="utf-8")
    asked = spikestore(folder, both, "preprocess", "wands.toml", "--store", "store", "--workers", "0")
    assert "Traceback" not in asked.stderr
    assert message in " ".join(asked.stderr.split())
    assert asked.returncode == (0 if points.startswith("SSC") else 2)


def test_licences_and_citations_are_on_the_page() -> None:
    """As the modules of the data sets have them."""
    text = PAGE.read_text(encoding="utf-8")
    table = text[text.index("| data set | licence | cite |") :].split("\n\n")[0]
    rows = [[part.strip() for part in line.split("|")[1:4]] for line in table.splitlines()]
    for name, dataset in DATASETS.items():
        (row,) = (row for row in rows if name in row[0].split(", "))
        assert row[1:] == [dataset.licence or "not stated here", dataset.citation]
