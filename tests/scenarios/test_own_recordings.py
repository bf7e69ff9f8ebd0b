"""docs/own_recordings.md, executed: files as a section lists them, its table and its recipe, through the command line into a store."""

from __future__ import annotations

import gzip
import os
import re
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hatchling.builders.wheel import WheelBuilder
from tests.pipeline.folders import draw

from spikestore.store import Store
from spikestore.store.cli.main import main

PAGE = (Path(__file__).parents[2] / "docs/own_recordings.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(text|csv|toml|py)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TRANSFORM = next(block for kind, block in BLOCK.findall(PAGE) if kind == "toml")
SECTIONS = {
    section.split("\n", 1)[0]: dict(BLOCK.findall(section))
    for section in PAGE.split("\n## ")[1:]
    if "```text" in section
}


def write(path: Path, events: npt.NDArray[np.void]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [(int(t), int(x), int(y), int(p)) for t, x, y, p in events.tolist()]
    if path.suffix == ".npy":
        np.save(path, events)
    elif path.suffix == ".npz":
        np.savez(path, t=events["t"], x=events["x"], y=events["y"], p=events["p"])
    elif path.suffix in (".csv", ".txt"):
        path.write_text("t,x,y,p\n" + "".join(f"{t},{x},{y},{p}\n" for t, x, y, p in rows))
    elif path.suffix == ".gz":
        path.write_bytes(gzip.compress("".join(f"{x},{y},{p},{t}\n" for t, x, y, p in rows).encode()))
    elif path.suffix == ".dat":
        header = b"% Version 2\n" + bytes([0, 8])
        path.write_bytes(
            header + b"".join(struct.pack("<II", t + 10**9, x | y << 14 | p << 28) for t, x, y, p in rows)
        )
    else:
        raise AssertionError(path.suffix)


def test_the_page_has_a_section_for_each_way_in() -> None:
    assert [*SECTIONS] == [
        "I have a folder for each class",
        "I have splits, persons or classes in file names",
        "I have a table",
        "I have no splits",
        "I have files of a camera",
        "I have columns without names",
    ]


@pytest.mark.parametrize("section", SECTIONS)
def test_a_section_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, section: str) -> None:
    """All recordings are in the store, with the class that their name or the table has, and with all their events."""
    monkeypatch.chdir(tmp_path)
    blocks = SECTIONS[section]
    files = blocks["text"].split()
    for seed, file in enumerate(files):
        write(Path(file), draw(seed))
    if "csv" in blocks:
        Path("recordings/labels.csv").write_text(blocks["csv"])
    Path("gestures.toml").write_text(blocks["toml"] + TRANSFORM)
    assert main(["preprocess", "gestures.toml", "--store", "./feature_store", "--workers", "0"]) == 0
    found = 0
    for split, features in Store("feature_store").splits("gestures").items():
        columns, start = features.read(), 0
        for row, file in enumerate(features.manifest.source.files):
            name = f"recordings/{file.name}"
            label = features.classes[columns.label[row]]
            told = (
                name
                if "csv" not in blocks
                else next(line for line in blocks["csv"].splitlines() if line.startswith(file.name))
            )
            assert label in told
            assert split == "all" or "shares" in blocks["toml"] or split in told
            events = draw(files.index(name))
            expected = np.zeros((int(columns.n_bins[row]), 2, 12, 16), int)
            origin = int(events["t"][0])
            np.add.at(
                expected,
                ((events["t"] - origin) // 1000, events["p"].astype(int), events["y"], events["x"]),
                1,
            )
            stop = start + int(columns.nnz[row])
            frames = np.zeros(expected.size, int)
            frames[columns.index[start:stop]] = columns.value[start:stop]
            start = stop
            np.testing.assert_array_equal(frames.reshape(expected.shape), expected)
            found += 1
        if 'columns = ["user"]' in blocks["toml"]:
            assert set(columns.extras["user"].tolist()) <= {1, 2, 3}
    assert found == len(files)


def test_a_recording_that_is_added(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """After a recording is added, the output is that of the page, except for digests; --no-reuse reuses no rows."""
    monkeypatch.chdir(tmp_path)
    section = PAGE[PAGE.index("## When recordings are added") :]
    command, *shown = re.findall(r"```console\n(.*?)```", section, re.DOTALL)[0].splitlines()
    arguments = [*command.removeprefix("$ spikestore ").split(), "--workers", "0"]
    blocks = SECTIONS["I have a folder for each class"]
    for seed, file in enumerate(blocks["text"].split()):
        write(Path(file), draw(seed))
    Path("gestures.toml").write_text(blocks["toml"] + TRANSFORM)
    assert main(arguments) == 0
    assert "taken" not in capfd.readouterr().err
    write(Path("recordings/left/c.npy"), draw(10))
    assert main(arguments) == 0
    printed = re.sub(
        "[0-9a-f]{12}", "DIGEST", capfd.readouterr().err.replace(str(tmp_path), ".")
    ).splitlines()
    assert [re.sub("[0-9a-f]{12}", "DIGEST", line) for line in shown] == [
        line for line in printed if "taken" in line or "moved" in line
    ]
    write(Path("recordings/left/d.npy"), draw(11))
    assert main([*arguments, "--no-reuse"]) == 0
    assert "taken" not in capfd.readouterr().err


def test_times_in_another_unit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Times in seconds are less than a µs each: a warning names the setting, with which the times are right."""
    monkeypatch.chdir(tmp_path)
    for name in ("a/1.csv", "b/2.csv"):
        path = Path("recordings", name)
        path.parent.mkdir(parents=True)
        path.write_text("t,x,y,p\n" + "".join(f"{i / 1000},{i % 16},{i % 12},{i % 2}\n" for i in range(200)))
    recipe = SECTIONS["I have a folder for each class"]["toml"]
    Path("gestures.toml").write_text(recipe + TRANSFORM)
    arguments = ["preprocess", "gestures.toml", "--store", "store", "--workers", "0"]
    assert main(arguments) == 0
    assert 'set time_unit ("s", "ms" or "ns")' in " ".join(capfd.readouterr().err.split())
    Path("gestures.toml").write_text(recipe + '[source.folder]\ntime_unit = "s"\n' + TRANSFORM)
    assert main([*arguments, "--move"]) == 0
    assert "time_unit" not in capfd.readouterr().err
    assert Store("store")["gestures:all"].read().n_bins.tolist() == [199, 199]


def test_a_dataset_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The two scripts of the page, one after the other; a second run finds the sets."""
    monkeypatch.chdir(tmp_path)
    section = PAGE[PAGE.index("## I have a Dataset class") :].split("\n## ")[0]
    script = "".join(block for kind, block in BLOCK.findall(section) if kind == "py")
    for _ in range(2):
        exec(compile(script, "own_recordings.md", "exec"), {"__name__": "__main__"})  # noqa: S102 - our own page
    store = Store(tmp_path / "feature_store")
    gestures, two = store["gestures:all"], store["two-gestures:train"]
    assert (len(gestures), gestures.classes) == (100, ("left", "right"))
    assert (len(two), two.classes) == (2, ("left", "right"))
    assert two.read().n_bins.tolist() == [1, 2]  # Tonic's: an event on the last edge is in no bin


def test_a_format_of_a_package(tmp_path: Path) -> None:
    """The package of the page, built and put on the path; its name and version are in the source."""
    section = PAGE[PAGE.index("## A format of your own") :]
    blocks = dict(BLOCK.findall(section))
    (tmp_path / "pyproject.toml").write_text(blocks["toml"])
    (tmp_path / "wand_files.py").write_text(blocks["py"])
    (wheel,) = WheelBuilder(str(tmp_path)).build(directory=str(tmp_path / "dist"), versions=["standard"])
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    stored = np.dtype([("t", "<u4"), ("x", "u1"), ("y", "u1"), ("p", "u1"), ("unused", "u1")])
    for seed, name in enumerate(("a/1.wand", "b/2.wand")):
        events = np.zeros(40, stored)
        for field in ("t", "x", "y", "p"):
            events[field] = draw(seed)[field]
        path = tmp_path / "recordings" / name
        path.parent.mkdir(parents=True)
        path.write_bytes(events.tobytes())
    (tmp_path / "gestures.toml").write_text(SECTIONS["I have a folder for each class"]["toml"] + TRANSFORM)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path / "site"), *sys.path])}
    command = [
        sys.executable,
        "-m",
        "spikestore.store",
        "preprocess",
        "gestures.toml",
        "--store",
        "store",
        "--workers",
        "0",
    ]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    source = Store(tmp_path / "store")["gestures:all"].manifest.source
    assert source.folder is not None
    assert source.folder.decoding.formats == {"wand-files.wand": 1}
