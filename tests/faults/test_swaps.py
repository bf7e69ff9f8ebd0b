"""Objects that are replaced by those of another fragment, column or set: every use returns the true samples, or raises an error.

They are replaced without further changes, as by a wrong copy, or resealed: every hash of the object is computed again.
"""

from __future__ import annotations

import itertools
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.faults.effort import LONG, SEED
from tests.faults.forger import Forgery
from tests.faults.set_uses import USES, Frames
from tests.store.damage import NAME, OTHER_SOURCE, OTHER_TRANSFORM, SMALL, Objects, make_store, swap
from tests.store.small_sets import small_set

from spikestore.store import Store, verify
from spikestore.store_schemas.errors import DamagedError, SpikestoreError
from spikestore.store_schemas.specs.canonical import canonical_json

KINDS = ("column", "record", "root", "array document", "manifest", "plan", "entry")


class Swap(NamedTuple):
    """One object in the place of another."""

    kind: str
    name: str
    what: str
    data: bytes


def kind_of(name: str) -> str:
    """Return what kind of object this is."""
    if "/c/" in name:
        return "column"
    if name.startswith("records/"):
        return "record"
    if name.endswith("zarr.json"):
        return "root" if name == "data.zarr/zarr.json" else "array document"
    return {"manifest.json": "manifest", "plan.json": "plan"}.get(name, "entry")


def swaps(root: Path) -> Iterator[Swap]:
    """Yield all swaps of objects of the set, and of the entry of its name."""
    for name, path in Objects.of_set(root, SMALL, NAME).of.items():
        original = (root / path).read_bytes()
        for what, data in swap(name, original, root):
            if data is not None and data != original:
                yield Swap(kind_of(name), name, what, data)
    paths = Objects.of_set(root, SMALL, NAME).of
    documents = {
        name: (root / path).read_bytes() for name, path in paths.items() if name.endswith("zarr.json")
    }
    for name, other in itertools.pairwise([*documents, *documents]):
        if documents[other] != documents[name]:
            yield Swap(kind_of(name), name, f"from {other}", documents[other])
    yield Swap(
        "root", "data.zarr/zarr.json", "with other columns", canonical_json(small_set(extras=()).plan().zarr)
    )


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store of three sets, not to be changed."""
    root = tmp_path_factory.mktemp("honest") / "store"
    make_store(root)
    return root


@pytest.fixture(scope="module")
def truth(honest: Path) -> Frames:
    """Return the samples of the set."""
    return USES["rows"](Store(honest)[f"{NAME}:train"])


def chosen(honest: Path, kind: str) -> list[Swap]:
    """Return the swaps of a kind that this run tries."""
    known = [one for one in swaps(honest) if one.kind == kind]
    assert known, kind
    return known if LONG else random.Random(f"{SEED} {kind}").sample(known, min(2, len(known)))  # noqa: S311


def assert_true_or_refused(root: Path, truth: Frames, what: str) -> int:
    """Use the set in every way; return how many uses ended with an error."""
    refused = 0
    for name, use in USES.items():
        try:
            samples = use(Store(root)[f"{NAME}:train"])
        except SpikestoreError:
            refused += 1
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise AssertionError(f"{what}: {name} ends in {error!r}") from error
        else:
            assert samples == truth, f"{what}: {name} gives other samples"
    return refused


@pytest.mark.parametrize(
    "kind", [KINDS[0], *(pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS[1:])]
)
def test_an_object_in_the_place_of_another(honest: Path, truth: Frames, tmp_path: Path, kind: str) -> None:
    """``verify`` names the replaced object, unless the other one is an older entry, or a plan that fits."""
    root = Path(shutil.copytree(honest, tmp_path / "store"))
    paths = Objects.of_set(root, SMALL, NAME).of
    for one in chosen(honest, kind):
        place, original = root / paths[one.name], (root / paths[one.name]).read_bytes()
        place.write_bytes(one.data)
        refused = assert_true_or_refused(root, truth, f"{one.name} {one.what}")
        assert refused in {0, len(USES)} or kind in {"column", "record", "array document"}, one[:3]
        try:
            found = verify(Store(root)["/".join(SMALL.address)], depth="normal")
        except SpikestoreError:
            found = []
            assert refused
        assert refused or found or kind == "entry", one[:3]
        place.write_bytes(original)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["column", "record", "root"])
def test_a_resealed_object_in_the_place_of_another(
    honest: Path, truth: Frames, tmp_path: Path, kind: str
) -> None:
    """All hashes of the object, up to the digest that the name pins, are those of the other object."""
    for number, one in enumerate(chosen(honest, kind)):
        root = Path(shutil.copytree(honest, tmp_path / str(number)))
        forged = Forgery(root, SMALL.address)
        path = one.name.removeprefix("data.zarr/")
        if kind == "column":
            forged.replace_object(path, one.data, int(path.rpartition("/")[2]))
        elif kind == "root":
            (forged.data / "zarr.json").write_bytes(one.data)
            forged.vouch_for_root()
        else:
            fragment = int(one.name[-10:-5])
            (root / Objects.of_set(root, SMALL, NAME).of[one.name]).write_bytes(one.data)
            forged.change_record(lambda record, at=fragment: record.update(fragment=at), fragment)  # type: ignore[misc]
        assert_true_or_refused(root, truth, f"{one.name} {one.what}, resealed")
        shutil.rmtree(root)


@pytest.mark.parametrize("other", [OTHER_SOURCE, OTHER_TRANSFORM], ids=["source", "transform"])
def test_a_whole_fragment_of_another_set(honest: Path, tmp_path: Path, other: Any) -> None:
    """All objects of a fragment are replaced, with documents that agree with them: only the seed of the block hashes reveals it."""
    root = Path(shutil.copytree(honest, tmp_path / "store"))
    forged, stranger = Forgery(root, SMALL.address), Forgery(root, other.address)
    for path in SMALL.layout.fragment_objects(0, 1):
        shutil.copyfile(stranger.data / path, forged.data / path)
    theirs = stranger.features.record(0).model_dump(mode="json")
    numbers = {
        name: theirs[name] for name in ("nnz", "n_bins", "max_index", "max_value", "blocks", "objects")
    }
    forged.change_record(lambda record: record.update(numbers))
    forged.add_up()
    features = Store(root)[f"{NAME}:train"]
    assert [damage.fragment for damage in verify(features, depth="deep")] == [0]
    for name, use in USES.items():
        with pytest.raises(DamagedError, match="0") as caught:
            use(Store(root)[f"{NAME}:train"])
        assert caught.value.details["objects"], name
