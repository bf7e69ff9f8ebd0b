"""`preprocess` with upstreams and locks copies existing sets instead of computing them, and then needs no recordings."""

from __future__ import annotations

import json
import logging
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.pipeline.cochlea_files import write_dataset
from tests.pipeline.small_builds import RECIPE, built, ssc

from spikestore.pipeline.building import missing_sets
from spikestore.pipeline.building.options import BuildOptions
from spikestore.pipeline.building.preprocess import preprocess
from spikestore.store import Store, verify
from spikestore.store_schemas.errors import ConflictError, SourceNotFoundError, SpecError, UsageError


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    caplog.set_level(logging.INFO)


@pytest.fixture(scope="module")
def team_of_the_module(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with data, recipe, lock and store of the person who computed the sets; not to be changed."""
    folder = tmp_path_factory.mktemp("team")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        write_dataset(folder / "data", "SSC")
        (folder / "r.toml").write_text(RECIPE.format(dataset="SSC"))
        preprocess(folder / "r.toml", store=folder / "store", workers=0)
    return folder


@pytest.fixture
def team(team_of_the_module: Path, tmp_path: Path) -> Path:
    """Return a copy of the team's folder."""
    shutil.copytree(team_of_the_module, tmp_path / "team")
    return tmp_path / "team"


@pytest.fixture
def desk(team: Path, tmp_path: Path) -> Path:
    """Return the folder of another machine: recipe with upstreams, and its lock; no recordings."""
    folder = tmp_path / "desk"
    folder.mkdir()
    text = (team / "r.toml").read_text()
    (folder / "r.toml").write_text('upstreams = ["../lost", "../team/store"]\n' + text)
    shutil.copy(team / "r.lock", folder)
    return folder


@pytest.fixture
def no_computing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail if a set is computed."""

    def forbidden(*arguments: Any) -> None:
        raise AssertionError("computed")

    monkeypatch.setattr(missing_sets, "_build", forbidden)


def digests(store: Path) -> dict[str, str]:
    """Return the digest of each split."""
    return {split: one.digest for split, one in Store(store).splits("speech").items()}


@pytest.mark.usefixtures("no_computing")
def test_with_a_lock_no_recordings_are_needed(
    team: Path, desk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The locked sets are copied from the upstream, which the output names; the lock stays unchanged."""
    lock = (desk / "r.lock").read_bytes()
    found = preprocess(desk / "r.toml", store=desk / "store")
    assert {split: one.digest for split, one in found.items()} == digests(team / "store")
    assert digests(desk / "store") == digests(team / "store")
    for features in found.values():
        assert verify(features, depth="deep") == []
    assert (desk / "r.lock").read_bytes() == lock
    assert caplog.text.count(f"cannot use the upstream {desk.parent / 'lost'}") == 1
    for split in found:
        assert f"copied SSC {split} from the upstream {desk.parent / 'team/store'}" in caplog.text
    shutil.rmtree(team)
    again = preprocess(desk / "r.toml", store=desk / "store")
    assert {split: one.digest for split, one in again.items()} == digests(desk / "store")
    assert "the set matches the lock, so no recordings are needed" in caplog.text


@pytest.mark.usefixtures("no_computing")
def test_a_recipe_of_some_splits_keeps_the_others_in_its_lock(team: Path, desk: Path) -> None:
    """Without recordings, they could not be found again. With another transform, they would be of no use."""
    lock = (desk / "r.lock").read_bytes()
    recipe = desk / "r.toml"
    recipe.write_text(recipe.read_text().replace("[source]", '[source]\nsplits = ["train"]'))
    assert list(preprocess(recipe, store=desk / "store")) == ["train"]
    assert (desk / "r.lock").read_bytes() == lock


@pytest.mark.usefixtures("no_computing")
def test_with_recordings_upstreams_are_asked_first(
    team: Path, desk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Keys are computed from the files; if there is no lock, it is written."""
    shutil.copytree(team / "data", desk / "data")
    (desk / "r.lock").unlink()
    preprocess(desk / "r.toml", store=desk / "store")
    assert digests(desk / "store") == digests(team / "store")
    assert (desk / "r.lock").read_bytes() == (team / "r.lock").read_bytes()
    assert caplog.text.count("from the upstream ") == 3


def test_sets_that_no_upstream_has_are_computed(
    team: Path, desk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The other sets are computed."""
    shutil.copytree(team / "data", desk / "data")
    gone = Store(team / "store")["speech:valid"].address
    shutil.rmtree(team / "store" / gone.folder)
    preprocess(desk / "r.toml", store=desk / "store", workers=0)
    assert set(digests(desk / "store")) == {"train", "valid", "test"}
    assert caplog.text.count("from the upstream ") == 2
    assert f"SSC valid is not in the upstream {desk.parent / 'team/store'}" in caplog.text


def test_a_lying_upstream(team: Path, desk: Path, caplog: pytest.LogCaptureFixture) -> None:
    """If the upstream has another digest than the lock, its set is rejected by name: without recordings an error, with them the set is computed."""
    lock = json.loads((desk / "r.lock").read_text())
    right = lock["splits"]["test"]["digest"]
    lock["splits"]["test"]["digest"] = "0" * 64
    (desk / "r.lock").write_text(json.dumps(lock))
    with pytest.raises(
        SourceNotFoundError, match=r"the set that the lock has for test is not in .*, nor in "
    ) as caught:
        preprocess(desk / "r.toml", store=desk / "store")
    assert str(desk.parent / "team/store") in str(caught.value)
    refused = f"SSC test in the upstream {desk.parent / 'team/store'} is rejected: its digest is {right[:12]}"
    assert refused in caplog.text
    assert Store(desk / "store").names() == []
    shutil.copytree(team / "data", desk / "data")
    caplog.clear()
    with pytest.raises(ConflictError, match="has test with digest 000000000000"):
        preprocess(desk / "r.toml", store=desk / "store", workers=0)
    assert refused in caplog.text


def test_a_store_that_contradicts_the_lock(team: Path, desk: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Also without recordings, one key can have only one content; no line says that the set matches the lock."""
    lock = json.loads((desk / "r.lock").read_text())
    lock["splits"]["train"]["digest"] = "0" * 64
    (desk / "r.lock").write_text(json.dumps(lock))
    with pytest.raises(ConflictError, match="has SSC train with digest 000000000000"):
        preprocess(desk / "r.toml", store=team / "store")
    assert "SSC train is in the store already" not in caplog.text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("time_window = 4000", "time_window = 5000"), "with another transform"),
        (lambda text: text.replace("SSC", "SHD"), 'dataset = "SSC", but the recipe has dataset = "SHD"'),
        (
            lambda text: text.replace("[source]", "[source]\nlimit = 3"),
            r"no limit, but the recipe has limit = 3; .* or remove limit under",
        ),
        (
            lambda text: text.replace("[source]", "[source]\nsort = true"),
            r"no sort, but the recipe has sort = true; .* or remove sort under",
        ),
        (lambda text: re.sub("upstreams = .*", "", text), "names no upstreams"),
    ],
    ids=["transform", "data set", "limit", "sort", "no upstreams"],
)
def test_a_lock_that_does_not_fit(desk: Path, change: Any, message: str) -> None:
    """If the recipe was changed after its lock was written, recordings are needed; the error says both."""
    recipe = desk / "r.toml"
    recipe.write_text(change(recipe.read_text()))
    with pytest.raises(UsageError, match=message):
        preprocess(recipe, store=desk / "store")
    assert Store(desk / "store").names() == []


def test_a_split_that_the_lock_lacks(desk: Path) -> None:
    """The missing split is named; splits that the recipe does not request are not copied."""
    lock = json.loads((desk / "r.lock").read_text())
    del lock["splits"]["valid"]
    (desk / "r.lock").write_text(json.dumps(lock))
    recipe = desk / "r.toml"
    text = recipe.read_text()
    recipe.write_text(text.replace("[source]", '[source]\nsplits = ["train", "valid"]'))
    with pytest.raises(SourceNotFoundError, match="the lock does not contain valid"):
        preprocess(recipe, store=desk / "store")
    recipe.write_text(text.replace("[source]", '[source]\nsplits = ["train"]'))
    assert list(preprocess(recipe, store=desk / "store")) == ["train"]


def test_a_folder_that_was_asked_for_must_be_there(desk: Path) -> None:
    """With data=, the folder must have recordings; without a lock, nothing else identifies the sets."""
    with pytest.raises(SourceNotFoundError, match="does not exist") as caught:
        preprocess(desk / "r.toml", store=desk / "store", data=desk / "nowhere")
    assert "lock" not in str(caught.value)
    (desk / "r.lock").unlink()
    with pytest.raises(SourceNotFoundError, match="does not exist"):
        preprocess(desk / "r.toml", store=desk / "store")


@pytest.mark.usefixtures("no_computing")
def test_a_recipe_without_a_data_folder(desk: Path) -> None:
    """The lock suffices for such a recipe, too."""
    recipe = desk / "r.toml"
    recipe.write_text(recipe.read_text().replace('data = "data"\n', ""))
    assert set(preprocess(recipe, store=desk / "store")) == {"train", "valid", "test"}


@pytest.mark.usefixtures("no_computing")
def test_a_tonic_data_set(team: Path, tmp_path: Path) -> None:
    """Upstreams are an option of `preprocess` for a Tonic data set."""
    features = built(ssc(team / "data", "valid"), tmp_path / "store", upstreams=(str(team / "store"),))
    assert features.digest == digests(team / "store")["valid"]


def test_copies_report_bytes(desk: Path) -> None:
    """Copies have a progress callback of their own, because samples are another unit."""
    reports: list[tuple[int, int, str]] = []
    options = BuildOptions(copy_progress=lambda *one: reports.append(one))
    preprocess(desk / "r.toml", store=desk / "store", options=options)
    assert {label for _, _, label in reports} == {"SSC train", "SSC valid", "SSC test"}
    assert all(done <= total for done, total, _ in reports)


def test_upstreams_in_recipes(desk: Path) -> None:
    """An upstream that can't be the name of a store, or is empty, is rejected before anything is done."""
    recipe = desk / "r.toml"
    text = recipe.read_text()
    recipe.write_text(text.replace("../lost", "ftp://a/b"))
    with pytest.raises(UsageError, match="ftp://a/b: a store must be a folder"):
        preprocess(recipe, store=desk / "store")
    recipe.write_text(text.replace("../lost", ""))
    with pytest.raises(SpecError, match=r"upstreams\[0\]"):
        preprocess(recipe, store=desk / "store")
