"""The choice of a recipe if the user names none, and the lock that a build writes next to its recipe."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.pipeline.cochlea_files import draw, write_dataset, write_file
from tests.scenarios.command_runs import write_recipe
from tests.scenarios.refusals import Run, build, refused

from spikestore.pipeline.recipes import shipped as shipped_recipes
from spikestore.store.store import Store


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put the shipped recipes into a folder of the test."""
    folder = tmp_path / "shipped" / "recipes"
    shutil.copytree(Path(__file__).parents[2] / "recipes", folder, ignore=shutil.ignore_patterns("*.lock"))
    monkeypatch.setattr(shipped_recipes, "INSTALLED", folder)
    return folder


@pytest.mark.parametrize(("dataset", "name"), [("SSC", "ssc-100ch-4ms"), ("SHD", "shd-100ch-4ms")])
def test_data_alone_find_their_recipe(
    run: Run, tmp_path: Path, shipped: Path, dataset: str, name: str
) -> None:
    """Without a recipe the files say which shipped one is meant."""
    write_dataset(tmp_path / "data", dataset)
    answer = run("preprocess", "--data", "data", "--store", "store", "--workers", "0")
    assert answer.status == 0, answer.err
    splits = Store(tmp_path / "store").splits(f"{name}-data")
    assert set(splits) == ({"train", "test"} | ({"valid"} if dataset == "SSC" else set()))


def test_ambiguous_data_need_a_choice(run: Run, tmp_path: Path, shipped: Path, data: Path) -> None:
    """Without a terminal, a folder with files of SSC and SHD is an error that lists both."""
    write_dataset(data, "SHD")
    answer = run("preprocess", "--data", "data", "--store", "store", "--workers", "0")
    refused(answer, 2, "SHD", "SSC", "ssc_train.h5", "shd_train.h5")


def test_neither_recipe_nor_data(run: Run, shipped: Path) -> None:
    """Without recipe and data, the error lists the shipped recipes; for unknown data, it lists the expected files."""
    refused(run("preprocess", "--store", "store"), 2, "demo", "shd", "ssc", "--data")
    Path("nothing").mkdir()
    refused(run("preprocess", "--store", "store", "--data", "nothing"), 2, "ssc_train.h5", "shd_train.h5")


def test_a_lock_is_written_kept_and_brought_up_to_date(run: Run, tmp_path: Path, data: Path) -> None:
    """The first build writes the lock, the same build leaves it unchanged, and other recordings change it."""
    recipe, lock = write_recipe(tmp_path / "r.toml"), tmp_path / "r.lock"
    assert f"wrote {lock}" in build(run, recipe).err
    before = lock.stat()
    assert str(lock) not in build(run, recipe).err
    assert (lock.stat().st_ino, lock.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    write_file(data / "SSC" / "ssc_train.h5", draw(5, seed=9))
    assert f"updated {lock}" in build(run, recipe, "--move").err
    assert Store(tmp_path / "store")["r:train"].digest in lock.read_text()


def test_a_lock_that_contradicts_the_store_is_refused(run: Run, tmp_path: Path, data: Path) -> None:
    """Equal keys with another digest: exit 1, the lock is not overwritten, the name not moved."""
    recipe, lock = write_recipe(tmp_path / "r.toml"), tmp_path / "r.lock"
    build(run, recipe)
    digest = Store(tmp_path / "store")["r:valid"].digest
    lock.write_text(lock.read_text().replace(digest, "0" * 64))
    before, refs = lock.read_text(), sorted((tmp_path / "store/refs").rglob("*"))
    answer = build(run, recipe)
    assert answer.status == 1
    assert all(word in answer.err for word in (str(lock), "valid", digest[:12], "0" * 12))
    assert lock.read_text() == before
    assert sorted((tmp_path / "store/refs").rglob("*")) == refs
    lock.unlink()
    assert build(run, recipe).status == 0


@pytest.mark.parametrize(
    ("text", "status", "words"),
    [
        ("{", 2, ["is not a lock"]),
        ('{"format": 2, "splits": {}}', 1, ["format 2", "newer"]),
        ('{"format": 1, "splits": {"train": {"digest": 7}}}', 2, ["splits.train"]),
        ("\udcff", 2, ["is not a lock"]),
        (None, 2, ["cannot read the lock", "Is a directory"]),
    ],
)
def test_a_lock_that_is_none(
    run: Run, tmp_path: Path, data: Path, text: str | None, status: int, words: list[str]
) -> None:
    """An invalid lock (garbage, another format, wrong members, a folder) is reported with its file name before anything is built."""
    lock = tmp_path / "r.lock"
    if text is None:
        lock.mkdir()
    else:
        lock.write_text(text, errors="surrogateescape")
    answer = build(run, write_recipe(tmp_path / "r.toml"))
    assert answer.status == status
    assert all(word in answer.err for word in (str(lock), *words))
    assert not (tmp_path / "store").exists()
