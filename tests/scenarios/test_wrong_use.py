"""Mistakes that reviewers made: each is reported, and none looks like success."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tests.scenarios.command_runs import write_recipe
from tests.scenarios.refusals import Run, build, refused

from spikestore.pipeline import preprocess
from spikestore.store import Store
from spikestore.store_schemas.errors import UsageError


@pytest.mark.parametrize("command", [("verify",), ("ls",), ("show", "x")])
def test_a_missing_store_is_an_error(run: Run, command: tuple[str, ...]) -> None:
    """Reading a store that does not exist, or whose name is empty, is an error, so that a mistake in CI is noticed."""
    answer = run(*command, "--store", "nothing")
    assert (answer.status, "no store at" in answer.err) == (2, True)
    answer = run(*command, "--store", "")
    assert (answer.status, "the value of --store is empty" in answer.err) == (2, True)


def test_a_damaged_name_is_not_fine(run: Run, tmp_path: Path, data: Path) -> None:
    """`ls` ends with status 1 when a name is damaged, and still lists what is there."""
    build(run, write_recipe(tmp_path / "r.toml"))
    next((tmp_path / "store/refs/r").iterdir()).write_bytes(b"half")
    answer = run("ls", "--store", "store")
    assert (answer.status, "refs/r/00000001.json" in answer.err) == (1, True)
    assert "SSC train" in answer.out


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (
            'splits = ["train", "train"]',
            ("source.splits", "must name each split once, got train more than once"),
        ),
        ("splits = []", ("source.splits", "at least one")),
        ('sort = "yes"', ("source.sort",)),
    ],
)
def test_wrong_splits(run: Run, tmp_path: Path, data: Path, source: str, words: tuple[str, ...]) -> None:
    """A split that is named twice, or an empty list of splits, is reported with its field."""
    refused(build(run, write_recipe(tmp_path / "r.toml", source=source)), 2, *words)


def test_recipes_that_are_none(run: Run, tmp_path: Path) -> None:
    """A folder is reported as a folder; a byte order mark is no error; numbers in quotes are not numbers."""
    (tmp_path / "d.toml").mkdir()
    refused(run("preprocess", "d.toml", "--store", "store"), 2, "d.toml is a folder")
    plain = write_recipe(tmp_path / "r.toml").read_text()
    (tmp_path / "marked.toml").write_text("\ufeff" + plain)
    refused(run("preprocess", "marked.toml", "--store", "store", "--data", "no"), 2, "does not exist")
    (tmp_path / "quoted.toml").write_text(plain.replace("time_window = 4000", 'time_window = "4000"'))
    refused(run("preprocess", "quoted.toml", "--store", "store"), 2, "time_window", "fraction")
    (tmp_path / "zero.toml").write_text(plain.replace("100/700", "100/0"))
    refused(
        run("preprocess", "zero.toml", "--store", "store"), 2, "1 problem\n", "transform[0].spatial_factor:"
    )


def test_another_result_than_in_the_lock_is_reported(run: Run, tmp_path: Path, data: Path) -> None:
    """If the result of a recipe differs from its lock, both digests are reported."""
    recipe = write_recipe(tmp_path / "r.toml")
    build(run, recipe)
    first = Store(tmp_path / "store")["r:train"].digest
    recipe.write_text(recipe.read_text().replace("4000", "5000"))
    answer = build(run, recipe, "--move")
    second = Store(tmp_path / "store")["r:train"].digest
    assert f"has train with digest {first[:12]}, but this build has {second[:12]}" in answer.err


def test_plans_and_parts_end_with_the_error_of_preprocess_if_the_lock_has_another_digest(
    run: Run, tmp_path: Path, data: Path
) -> None:
    """Status 1, with and without recordings; no table or JSON says that the set is in the store. A lock with other keys is no error."""
    recipe = write_recipe(tmp_path / "r.toml", source='data = "data"\nsplits = ["train"]')
    build(run, recipe)
    lock = json.loads((tmp_path / "r.lock").read_text())
    right = lock["splits"]["train"]["digest"]
    lock["splits"]["train"]["digest"] = "0" * 64
    (tmp_path / "other.lock").write_text(json.dumps(lock))
    assert run("plan", recipe, "--store", "store").status == 0
    wrong = (recipe, "--store", "store", "--lock", "other.lock")
    part = ("preprocess", *wrong, "--part", "1/2")
    for words in (("plan", *wrong), ("plan", *wrong, "--json"), ("preprocess", *wrong), part):
        answer = run(*words)
        assert (answer.status, answer.out) == (1, "")
        assert (
            f"other.lock has train with digest {'0' * 12}, but the store has {right[:12]} for the same"
            in answer.err
        )
    shutil.move(data, tmp_path / "elsewhere")
    answer = run("plan", *wrong)
    assert (answer.status, answer.out) == (1, "")
    assert f"the lock has SSC train with digest {'0' * 12}, but " in answer.err
    shutil.move(tmp_path / "elsewhere", data)
    recipe.write_text(recipe.read_text().replace("4000", "5000"))
    assert run("plan", *wrong).status == 0


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("train", "", "--store", "store"), "argument 1 of train"),
        (("evaluate", "", "--store", "store"), "argument 1 of evaluate"),
        (("plan", ""), "argument 1 of plan"),
        (("preprocess", "ssc", "--data", ""), "the value of --data"),
        (("preprocess", "ssc", "--data="), "the value of --data"),
        (("train", "c.toml", "--folder", ""), "the value of --folder"),
        (("demo-data", ""), "argument 1 of demo-data"),
        (("show", "--store", "store", ""), "argument 3 of show"),
    ],
)
def test_an_empty_argument(run: Run, tmp_path: Path, words: tuple[str, ...], named: str) -> None:
    """An empty argument, as from an unset variable, does not mean the current folder: it is an error, and nothing is done."""
    refused(run(*words), 2, f"{named} is empty (is a variable not set?)")
    assert not list(tmp_path.iterdir())


def test_an_empty_store_name_in_python() -> None:
    """The same from Python."""
    with pytest.raises(UsageError, match="location is empty"):
        preprocess("r.toml", store="")


@pytest.mark.parametrize(
    "words",
    [
        ("preprocess", "ssc", "--data", "~nosuchuser/d", "--store", "store"),
        ("preprocess", "ssc", "--data", "data", "--lock", "~nosuchuser/l", "--store", "store"),
        ("evaluate", "~nosuchuser/best.pt", "--store", "data"),
    ],
    ids=["data", "lock", "checkpoint"],
)
def test_a_home_that_is_not_there(run: Run, data: Path, words: tuple[str, ...]) -> None:
    """Every path of the command line says which user is not known."""
    assert data.exists()
    answer = run(*words)
    assert (answer.status, answer.err.count("\n")) == (2, 1)
    assert "no user 'nosuchuser' on this machine" in answer.err


def test_messages_have_plain_paths(run: Run, tmp_path: Path, data: Path) -> None:
    """Messages have plain paths of the store, and of recordings that a recipe names relative to its folder."""
    (tmp_path / "recipes").mkdir()
    recipe = write_recipe(tmp_path / "recipes/r.toml")
    recipe.write_text(recipe.read_text().replace("[source]", '[source]\ndata = "../nothing"'))
    refused(run("ls", "--store", "recipes/..//nowhere"), 2, f"no store at {tmp_path / 'nowhere'}")
    refused(
        run("plan", str(recipe), "--store", "store"),
        2,
        f"the data folder {tmp_path / 'nothing'} does not exist",
    )
