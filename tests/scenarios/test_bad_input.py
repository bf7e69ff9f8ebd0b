"""Wrong use of the command line: one line names the mistake and the correction, and the exit status is 2."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.scenarios.command_runs import write_recipe
from tests.scenarios.refusals import Run, build, refused


def test_a_missing_data_folder(run: Run, tmp_path: Path) -> None:
    """The folder is named."""
    refused(build(run, write_recipe(tmp_path / "r.toml")), 2, str(tmp_path / "data"), "does not exist")


def test_a_data_folder_without_the_files(run: Run, tmp_path: Path) -> None:
    """The file, and both places where it was looked for, are named."""
    (tmp_path / "data").mkdir()
    answer = build(run, write_recipe(tmp_path / "r.toml"))
    refused(answer, 2, "ssc_train.h5", str(tmp_path / "data/SSC"), "looked in")


def test_no_data_at_all(run: Run, tmp_path: Path) -> None:
    """Without data in the recipe and without --data, the message names both remedies."""
    answer = run("preprocess", write_recipe(tmp_path / "r.toml"), "--store", "store")
    refused(answer, 2, "r.toml", "--data FOLDER", "[source]")


def test_a_missing_recipe_names_the_nearest(run: Run, tmp_path: Path) -> None:
    """A misspelt file name is answered with the nearest one."""
    write_recipe(tmp_path / "speech.toml")
    refused(build(run, "speach.toml"), 2, "no recipe at speach.toml", "did you mean 'speech.toml'?")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('op = "crop_time"', 'op = "croptime"', ["transform[1]", "croptime", "did you mean 'crop_time'"]),
        ("max = 1e6", "", ["transform[1].max"]),
        ("sensor_size = [100, 1, 1]", "", ["transform[2].sensor_size"]),
        ("time_window", "time_windw", ["transform[2].time_windw", "did you mean 'time_window'"]),
        ('spatial_factor = "100/700"', 'spatial_factor = "100/0"', ["transform[0].spatial_factor", "100/0"]),
        ("max = 1e6", "max = nan", ["transform[1].max"]),
        ("time_window = 4000", "time_window = 0", ["transform[2].time_window"]),
        ('dataset = "SSC"', 'dataset = "SSD"', ["source.dataset", "SSD", "SHD, SSC"]),
        ('dataset = "SSC"', 'dataset = "SSC"\nsplits = ["training"]', ["source.splits", "training", "train, valid, test"]),
        ('dataset = "SSC"', 'dataset = "SSC"\nsplits = []', ["source.splits"]),
        ('dataset = "SSC"', 'dataset = "SSC"\non_error = "ignore"', ["source.on_error", "ignore", "skip"]),
        ('dataset = "SSC"', 'dataset = "SSC"\nlimit = 0', ["source.limit"]),
        ("[build]", "[build]\nfragment_samples = 65", ["build.fragment_samples", "64"]),
        ('name = "r"', 'name = "R 1"', ["name"]),
        ("[source]", "[sauce]", ["sauce", "did you mean 'source'"]),
        ('name = "r"', 'name = "r', ["not TOML", "line 2"]),
        ("[[transform]]", "[transform]", ["not TOML"]),
    ],
)  # fmt: skip
def test_a_wrong_recipe(run: Run, tmp_path: Path, data: Path, old: str, new: str, words: list[str]) -> None:
    """The message has file, field, what was found or expected, and the nearest valid name."""
    recipe = write_recipe(tmp_path / "r.toml")
    text = recipe.read_text()
    assert old in text
    recipe.write_text(text.replace(old, new, 1))
    refused(build(run, recipe), 2, str(recipe), *words)


def test_all_problems_of_a_recipe_are_listed_at_once(run: Run, tmp_path: Path, data: Path) -> None:
    """Three mistakes in three tables are reported in one go."""
    recipe = write_recipe(tmp_path / "r.toml", source="sorted = true", build="workers = -1")
    recipe.write_text(recipe.read_text().replace("max = 1e6", ""))
    refused(build(run, recipe), 2, "3 problems", "source.sorted", "transform[1].max", "build.workers")


def test_a_chain_that_does_not_end_in_frames(run: Run, tmp_path: Path, data: Path) -> None:
    """A transform without to_frame is refused."""
    recipe = write_recipe(tmp_path / "r.toml")
    recipe.write_text(recipe.read_text().split('[[transform]]\nop = "to_frame"')[0])
    refused(build(run, recipe), 2, "transform", "must have exactly one operation")


def test_a_sensor_that_does_not_fit_the_recordings(run: Run, tmp_path: Path, data: Path) -> None:
    """A sensor with y, for recordings without y, is rejected before anything is written."""
    recipe = write_recipe(tmp_path / "r.toml")
    recipe.write_text(recipe.read_text().replace("[100, 1, 1]", "[100, 2, 1]"))
    refused(build(run, recipe), 2, "sensor_size", "y")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--scheduler", "tcp://127.0.0.1:1"], ["workers", "scheduler"]),
        (["--workers", "-1"], ["--workers", "or equal to 0"]),
        (["--fragment-samples", "0"], ["--fragment-samples"]),
        (["--wrkers", "2"], ["--wrkers"]),
    ],
)
def test_wrong_options(run: Run, tmp_path: Path, data: Path, arguments: list[str], words: list[str]) -> None:
    """Options that exclude each other, are out of range or unknown are named."""
    refused(build(run, write_recipe(tmp_path / "r.toml"), *arguments), 2, *words)


def test_unknown_names(run: Run, tmp_path: Path, data: Path) -> None:
    """`show` and `verify` say which names there are."""
    assert build(run, write_recipe(tmp_path / "speech.toml")).status == 0
    for command, name, word in (
        ("show", "speach", "did you mean 'speech'"),
        ("verify", "speech:tset", "did you mean 'test'"),
        ("show", "0123456789ab", "no key"),
    ):
        answer = run(command, name, "--store", "store")
        assert (answer.status, answer.out) == (2, "")
        assert word in answer.err
        assert len(answer.err.splitlines()) == 1
