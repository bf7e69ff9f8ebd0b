"""Several users of one store: a name keeps its feature sets until a user asks to move it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.pipeline.cochlea_files import draw, write_dataset, write_file
from tests.pipeline.event_files import draw_events, pack, write_nmnist
from tests.scenarios.command_runs import digests, manifests, write_recipe
from tests.scenarios.refusals import Answer, Run, build, refused

from spikestore.pipeline.recipes import shipped as shipped_recipes
from spikestore.store.store import Store

PIXELS = """
name = "digits"
[source]
dataset = "NMNIST"
data = "data"
[[transform]]
op = "to_frame"
sensor_size = [34, 34, 2]
time_window = 10_000
"""


def taken(answer: Answer, *words: str) -> None:
    """Assert that a name was refused in one line with these words."""
    assert answer.status == 2, answer.err
    (line,) = [line for line in answer.said if line.startswith("spikestore: error: ")]
    assert [
        word for word in (*words, "already refers to other feature sets", "--move") if word not in line
    ] == []


def test_the_same_recipe_on_other_recordings(run: Run, tmp_path: Path, data: Path) -> None:
    """The recipe on other recordings is rejected before anything is built, with the message of `tag`; only another name or --move helps."""
    recipe = write_recipe(tmp_path / "r.toml")
    build(run, recipe)
    before, sets = digests(tmp_path / "store", "r"), manifests(tmp_path / "store")
    write_file(data / "SSC" / "ssc_train.h5", draw(5, seed=9))
    lock = (tmp_path / "r.lock").read_text()
    for more in ((), ("--part", "1/2")):
        answer = build(run, recipe, *more)
        taken(answer, "'r' in", "r:train", "other recordings: ssc_train.h5")
    assert (digests(tmp_path / "store", "r"), manifests(tmp_path / "store")) == (before, sets)
    assert (tmp_path / "r.lock").read_text() == lock
    assert build(run, recipe, "--name", "mine", "--lock", "mine.lock").status == 0
    assert (digests(tmp_path / "store", "r"), (tmp_path / "r.lock").read_text()) == (before, lock)
    answer = build(run, recipe, "--move")
    assert answer.status == 0
    moved = f"moved r:train from digest {before['train'][:12]} to "
    assert [line for line in answer.err.splitlines() if line.startswith(moved)] != []
    assert digests(tmp_path / "store", "r") == digests(tmp_path / "store", "mine")


def test_recordings_that_are_added(run: Run, tmp_path: Path) -> None:
    """With one file per recording, added files move the name, with one line of output; removed files do not."""
    root = write_nmnist(tmp_path / "data")
    recipe = tmp_path / "digits.toml"
    recipe.write_text(PIXELS)
    assert build(run, recipe).status == 0
    (root / "Train/3/00999.bin").write_bytes(pack(draw_events(np.random.default_rng(8), 30, 34, 90_000)))
    answer = build(run, recipe)
    assert answer.status == 0, answer.err
    assert len([line for line in answer.err.splitlines() if "moved digits:train from digest" in line]) == 1
    (root / "Train/0/00000.bin").unlink()
    taken(build(run, recipe), "digits:train", "other recordings: Train/0/00000.bin")


def test_another_transform_under_the_name(run: Run, tmp_path: Path, data: Path) -> None:
    """A set with another transform is rejected under the same name."""
    recipe = write_recipe(tmp_path / "r.toml")
    build(run, recipe)
    recipe.write_text(recipe.read_text().replace("4000", "5000"))
    taken(build(run, recipe), "r:train", "it has another transform")
    assert build(run, recipe, "--move").status == 0


def test_classes_in_another_order(run: Run, tmp_path: Path, data: Path) -> None:
    """Another order of classes is rejected before anything is built, with a label and its names."""
    keys = np.array([name.encode() for name in ("one", "zero", "grün")])
    write_file(data / "SSC" / "ssc_test.h5", draw(9, seed=2), keys=keys)
    answer = build(run, write_recipe(tmp_path / "r.toml"))
    refused(
        answer,
        2,
        "the labels of train and test stand for different classes: label 0 is 'zero' in the first",
        "order",
    )
    assert manifests(tmp_path / "store") == []


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with the shipped recipes that is used like a checkout."""
    folder = tmp_path / "checkout/recipes"
    folder.mkdir(parents=True)
    for path in (Path(__file__).parents[2] / "recipes").glob("*.toml"):
        (folder / path.name).write_text(path.read_text())
    monkeypatch.setattr(shipped_recipes, "INSTALLED", folder)
    return folder


def test_ones_own_data_leave_nothing_in_the_checkout(run: Run, tmp_path: Path, checkout: Path) -> None:
    """A shipped recipe, given by file or name, writes no lock for own data, and the name of its sets contains that of the data folder."""
    own = tmp_path / 'Ann\'s "birds" 2'
    write_dataset(own, "SSC")
    before = sorted(checkout.parent.rglob("*"))
    for recipe in (("ssc",), (checkout / "ssc.toml",), ()):
        answer = run("preprocess", *recipe, "--data", own, "--store", "store", "--workers", "0")
        assert answer.status == 0, answer.err
    assert Store(tmp_path / "store").names() == ["ssc-100ch-4ms-ann-s-birds-2"]
    assert sorted(checkout.parent.rglob("*")) == before
    assert not [*tmp_path.rglob("*.lock")]
    assert "ssc-100ch-4ms-ann-s-birds-2:train" in run("plan", "ssc", "--data", own, "--store", "store").out


def test_a_name_and_a_lock_on_request(run: Run, tmp_path: Path, checkout: Path) -> None:
    """--name and --lock are used; then the lock suffices without recordings. A lock that can't be written is reported at once."""
    own = write_dataset(tmp_path / "birds", "SSC")
    words = ("preprocess", "ssc", "--store", "store", "--workers", "0", "--lock", "birds.lock")
    assert run(*words, "--data", own, "--name", "birds").status == 0
    assert Store(tmp_path / "store").names() == ["birds"]
    assert Path("birds.lock").exists()
    answer = run(*words, "--name", "again")
    assert answer.status == 0, answer.err
    assert Store(tmp_path / "store").names() == ["again", "birds"]
    answer = run(*words[:-1], "no/such.lock", "--data", own)
    assert (answer.status, "no folder at no for the lock no/such.lock: pass" in answer.err) == (2, True)


def test_data_where_the_recipe_says(run: Run, tmp_path: Path, checkout: Path) -> None:
    """With the checkout's own data folder, the name is the recipe's, with and without --data, and no lock is written."""
    own = write_dataset(checkout.parent / "data", "SSC")
    for given in ((), ("--data", own), ("--data", own.parent)):
        assert run("preprocess", "ssc", *given, "--store", "store", "--workers", "0").status == 0
    assert Store(tmp_path / "store").names() == ["ssc-100ch-4ms"]
    assert not [*tmp_path.rglob("*.lock")]
