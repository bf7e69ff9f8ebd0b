"""``spikestore recipe``: flags, questions on a terminal, and the file."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest
from tests.pipeline.cochlea_files import write_dataset

from spikestore.pipeline.recipes.recipe import load_recipe
from spikestore.pipeline.recipes.schema import recipe_schema
from spikestore.store.cli.main import main


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder without a terminal."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", None)
    return tmp_path


def test_flags(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A recipe in another folder finds the recordings; a second call leaves the file alone."""
    (folder / "data").mkdir()
    (folder / "data/shd_test.h5").touch()
    (folder / "mine").mkdir()
    flags = (
        "recipe",
        "--data",
        "data",
        "--size",
        "70",
        "--bin-ms",
        "10",
        "--splits",
        "test",
        "--out",
        "mine/a.toml",
    )
    assert main(flags) == 0
    assert (
        "wrote mine/a.toml. To see what this recipe computes, run: spikestore plan mine/a.toml"
        in capsys.readouterr().err
    )
    recipe = load_recipe("mine/a.toml")
    assert (recipe.name, recipe.source.dataset, recipe.source.data) == ("shd-70ch-10ms", "SHD", "../data")
    before = (folder / "mine/a.toml").read_text()
    assert main([*flags, "--binary"]) == 2
    assert "mine/a.toml exists already: pass another --out" in capsys.readouterr().err
    assert (folder / "mine/a.toml").read_text() == before


@pytest.mark.slow
def test_plan_accepts_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_dataset(folder / "data", "SHD")
    assert main(["recipe", "--data", "data", "--size", "70", "--splits", "test", "--out", "a.toml"]) == 0
    assert main(["plan", "a.toml", "--store", "store", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["splits"]
    assert (row["split"], row["state"]) == ("test", "to compute")


def test_json_and_folders(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A recipe for own recordings, with a pattern; the JSON has what was written."""
    flags = (
        "--dataset",
        "folder",
        "--sensor-size",
        "16,12,2",
        "--pattern",
        "{split}/{label}/*",
        "--data",
        "/x",
    )
    assert main(["recipe", *flags, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    recipe = load_recipe(document["path"])
    assert recipe.source.folder_settings.pattern == "{split}/{label}/*"
    assert recipe.source.data == "/x"
    assert document["recipe"]["name"] == recipe.name == "recordings-16x12-10ms"


def test_questions(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """On a terminal, choices without a flag are asked; an empty answer is the default."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal("\nfolder\n32,24,2\n16,12\n\n100\nmine\n"))
    assert main(["recipe"]) == 0
    captured = capsys.readouterr()
    assert captured.out.isspace()  # which the terminal needs for a prompt on stderr
    assert "Length of a time bin in ms [10.0]" in captured.err
    transform = load_recipe("mine.toml").transform_spec()
    assert [step.op for step in transform.operations] == ["downsample", "crop_time", "to_frame"]
    assert transform.to_frame.sensor_size == (16, 12, 2)
    monkeypatch.setattr(sys, "stdin", Terminal("\n\n\n"))
    assert main(["recipe", "--dataset", "SHD", "--bins", "5", "--max-ms", "0"]) == 0
    assert load_recipe("shd-100ch-5bins.toml").transform_spec().bins == 5
    monkeypatch.setattr(sys, "stdin", Terminal("\n\n"))
    assert main(["recipe", "--dataset", "SHD", "--bins", "5", "--max-ms", "0", "--name", "own"]) == 0
    assert load_recipe("own.toml").name == "own"
    assert "run: spikestore plan own.toml --data FOLDER\n" in Path("own.toml").read_text()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "no data set: pass --dataset NAME"),
        (("--dataset", "shd"), "did you mean 'SHD'"),
        (("--dataset", "SHD", "--size", "a"), "--size must be 1 or 2 positive whole numbers"),
        (("--dataset", "SHD", "--bin-ms", "-3"), "--bin-ms must be greater than 0, got -3"),
        (("--dataset", "SHD", "--bins", f"1{'0' * 400}"), "n_time_bins: must be less than or equal to"),
        (("--dataset", "SHD", "--bins", "0"), "--bins must be greater than 0, got 0"),
        (("--dataset", "SHD", "--bin-events", "-2"), "--bin-events must be greater than 0, got -2"),
        (("--dataset", "SHD", "--max-ms", "-2"), "--max-ms must be 0 or greater, got -2"),
        (("--dataset", "SHD", "--out", "no/a.toml"), "no folder at no"),
        (("--data", "nowhere"), "does not exist"),
        (("--schema", "--out", "s.json"), "--schema writes to stdout: replace --out s.json by > s.json"),
    ],
)
def test_wrong_use(
    flags: tuple[str, ...], message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One message, and no file is written."""
    assert main(["recipe", *flags]) == 2
    assert message in capsys.readouterr().err
    assert [*folder.iterdir()] == []


def test_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipe", "--schema"]) == 0
    assert json.loads(capsys.readouterr().out) == recipe_schema()
