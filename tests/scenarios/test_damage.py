"""No damage changes the result of a read, and verify names the damaged objects."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.hypothesis_profiles import examples
from tests.store import damage
from tests.store.damage import KINDS, NAME, OTHER_SOURCE, SMALL, Objects, flipped, make_store
from tests.store.small_sets import memory_storage, same
from tests.store.watched_storage import Result, WatchedStorage

from spikestore.store import FeatureSet, Store, verify
from spikestore.store.trust.block_rows import RowRange
from spikestore.store_schemas import Address
from spikestore.store_schemas.errors import DamagedError, MissingObjectError, SpikestoreError, StoreError

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with three sets. Tests damage one object at a time, and restore it."""
    root = tmp_path_factory.mktemp("pristine")
    make_store(root)
    return root


@pytest.fixture
def store(pristine: Path, tmp_path: Path) -> Path:
    """Return a copy of the folder, which a test may damage."""
    return shutil.copytree(pristine, tmp_path / "store")


@pytest.mark.parametrize(
    ("kind", "at_least"),
    [
        pytest.param("flip", 100, marks=pytest.mark.slow),
        pytest.param("resize", 100, marks=pytest.mark.slow),
        ("delete", 35),
        pytest.param("swap", 80, marks=pytest.mark.slow),
    ],
)
def test_every_object_damaged(pristine: Path, kind: str, at_least: int) -> None:
    """Whichever object is damaged, reads return the true samples or name the object, and verify (or opening) names it."""
    tried, wrong = damage.survey(pristine, kind)
    assert wrong == []
    assert tried >= at_least


@pytest.mark.slow
@pytest.mark.parametrize("kinds", [("flip",), tuple(KINDS)])
def test_every_object_damaged_read_by_zarrs(pristine: Path, kinds: tuple[str, ...]) -> None:
    """As `test_every_object_damaged`, with the codec pipeline zarrs, which checks less than Zarr's own."""
    pytest.importorskip("zarrs")
    command = [sys.executable, "-m", "tests.store.damage", str(pristine), *kinds]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "read with ZarrsCodecPipeline"
    assert [line.split(": ")[0] for line in lines[1:]] == [*kinds], done.stdout
    assert all(int(line.split()[1]) > 20 for line in lines[1:])


@functools.cache
def objects_in_memory() -> dict[str, bytes]:
    """Return the whole set, object by object."""
    storage = memory_storage()
    SMALL.build(storage)
    return {entry.path: storage.get(entry.path) for entry in storage.list("features")}


@given(st.data())
@settings(max_examples=examples(40))
def test_any_bit(data: st.DataObject) -> None:
    """Any flipped bit anywhere: a read returns the truth or fails, and verify finds it."""
    objects = objects_in_memory()
    path = data.draw(st.sampled_from(sorted(objects)))
    place = data.draw(st.integers(0, len(objects[path]) - 1))
    storage = memory_storage()
    for other, content in objects.items():
        stored = flipped(content, place, data.draw(st.integers(0, 7))) if other == path else content
        storage.put_if_absent(other, stored)
    try:
        features = FeatureSet.open(storage, SMALL.address)
    except DamagedError as error:
        assert error.details["objects"] == (SMALL.address.manifest,)  # noqa: PT017 - either is right
        return
    assert path in {one.path for one in verify(features)}
    try:
        assert same(features.read(), SMALL.truth)
    except DamagedError as error:
        assert path in error.details["objects"]  # noqa: PT017 - either is right


def test_a_fragment_of_another_set(store: Path) -> None:
    """All objects of a fragment from another set agree with each other, and are rejected."""
    own, other = Objects.of_set(store, SMALL, NAME).of, Objects.of_set(store, OTHER_SOURCE, "other").of
    for name, path in own.items():
        if name.endswith("/c/0"):
            shutil.copyfile(store / other[name], store / path)
    features = Store(store)[f"{NAME}:train"]
    with pytest.raises(DamagedError) as caught:
        features.read(0, 64)
    swapped = {path for name, path in own.items() if name.endswith("/c/0")}
    assert {*caught.value.details["objects"]} == swapped == {one.path for one in verify(features)}
    assert same(features.read(64, 170), SMALL.truth, 64, 170)


def test_check_binds_a_fragment_to_its_place() -> None:
    """Blocks of another place or another set fail their check, whatever the records say."""
    storage = memory_storage()
    features = SMALL.build(storage)
    columns, stored = features._rows.reader.read(0, 0, 64)
    for address in (SMALL.address, OTHER_SOURCE.address):
        moved = FeatureSet(storage, address, features.manifest)
        moved._rows.__dict__["reader"] = type("Reader", (), {"read": lambda *_: (columns, stored)})()
        if address == SMALL.address:
            assert same(moved._rows.read(RowRange(0, 0, 64)), SMALL.truth, 0, 64)
            with pytest.raises(DamagedError, match="rows 64 to 127 do not match their stored hash"):
                moved._rows.read(RowRange(1, 0, 64))
        else:
            with pytest.raises(StoreError):
                moved._rows.read(RowRange(0, 0, 64))


def test_a_set_under_another_key(store: Path) -> None:
    """A set whose directory was renamed or copied is refused by name."""
    other = Address(SMALL.address.transform_key, "ab" * 32)
    shutil.copytree(store / SMALL.address.folder, store / other.folder)
    with pytest.raises(DamagedError, match="describes another feature set") as caught:
        FeatureSet.open(Store(store).storage, other)
    assert caught.value.details["objects"] == (other.manifest,)
    assert same(Store(store)[f"{NAME}:train"].read(), SMALL.truth)


def test_all_damage_is_named(store: Path) -> None:
    """A failed read names every damaged object of the fragment, and how it is damaged."""
    own = Objects.of_set(store, SMALL, NAME).of
    (store / own["data.zarr/index/c/0"]).unlink()
    (store / own["data.zarr/label/c/0"]).write_bytes(b"")
    with pytest.raises(DamagedError, match=r"index/c/0 \(missing\).*label/c/0 \(damaged\)") as caught:
        Store(store)[f"{NAME}:train"].read(0, 1)
    assert caught.value.details["objects"] == (own["data.zarr/index/c/0"], own["data.zarr/label/c/0"])


def test_start_is_compared_with_nnz(store: Path) -> None:
    """Offsets that contradict the counts are damage, though our own reads need only the counts."""
    own, other = Objects.of_set(store, SMALL, NAME).of, Objects.of_set(store, OTHER_SOURCE, "other").of
    path = own["data.zarr/start/c/0"]
    shutil.copyfile(store / other["data.zarr/start/c/0"], store / path)
    with pytest.raises(DamagedError, match=r"start/c/0 \(damaged\)") as caught:
        Store(store)[f"{NAME}:train"].read(0, 1)
    assert caught.value.details["objects"] == (path,)


def test_untouched_fragments_can_be_read(store: Path) -> None:
    """If one fragment is damaged, the others can still be read."""
    own = Objects.of_set(store, SMALL, NAME).of
    (store / own["data.zarr/nnz/c/2"]).unlink()
    features = Store(store)[f"{NAME}:train"]
    assert same(features.read(0, 128), SMALL.truth, 0, 128)
    with pytest.raises(DamagedError, match=r"nnz/c/2 \(missing\)"):
        features.read(128, 129)


def test_the_value_of_a_name_deleted(store: Path) -> None:
    """A name whose only entry was deleted is unknown; the error does not suggest the same name."""
    (store / f"refs/{NAME}/00000001.json").unlink()
    with pytest.raises(SpikestoreError, match=f"no '{NAME}:train'.*; it has other, third"):
        Store(store)[f"{NAME}:train"]


def test_a_failing_network_is_not_damage() -> None:
    """When storage fails while a failed read is examined, the error says so and blames no object."""
    storage = memory_storage()
    features = SMALL.build(storage)

    def fail(verb: str, path: str, effect: Callable[[], Result]) -> Result:
        raise StoreError(f"can't read {path}: connection reset", path=path)

    ours = FeatureSet(WatchedStorage(storage, fail), SMALL.address, features.manifest)
    with pytest.raises(StoreError, match="connection reset") as caught:
        ours.read()
    assert not isinstance(caught.value, DamagedError | MissingObjectError)
