"""Damages every object of a committed set in every way, and returns the damage that is not detected.

It runs inside a test with Zarr's own codec pipeline, and as a script with zarrs, whose thread pools must not be in a process
that other tests fork: ``python -m tests.store.damage FOLDER KIND …``
"""

from __future__ import annotations

import random
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import zarr
from tests.store.small_sets import SmallSet, files_of, same, small_set

from spikestore.store import Store, verify
from spikestore.store.columns import reader as column_readers
from spikestore.store_schemas.errors import DamagedError, SpikestoreError

SMALL = small_set()
OTHER_SOURCE = small_set(split="valid", seed=1)
OTHER_TRANSFORM = small_set(time_window=5000.0, seed=2)
NAME = "small"


def make_store(root: Path) -> None:
    """Fill a folder with the set to be damaged, two others to take objects from, and names."""
    store = Store(root)
    store.point(NAME, {"train": SMALL.build(store.storage)})
    store.point("other", {"valid": OTHER_SOURCE.build(store.storage)})
    store.point("third", {"train": OTHER_TRANSFORM.build(store.storage)})


class Objects(NamedTuple):
    """The objects of the set and of its name, by their names without keys and plan, which are the same in every set."""

    of: dict[str, str]

    @classmethod
    def of_set(cls, root: Path, small: SmallSet, name: str) -> Objects:
        """Return those of one set."""
        folder = small.address.folder
        plan_id = small.plan().hash[:12]
        found = {}
        for path in files_of(root):
            if path.startswith(f"{folder}/"):
                found[path.removeprefix(f"{folder}/").removeprefix(f"builds/{plan_id}/")] = path
            elif path.startswith(f"refs/{name}/"):
                found[path.removeprefix(f"refs/{name}/")] = path
        return cls(found)


Damaging = Callable[[str, bytes, Path], Iterator[tuple[str, bytes | None]]]
"""Called with an object's common name, its bytes and the root: yields descriptions of damage, and the new bytes (None: deleted)."""


def flip(name: str, data: bytes, root: Path) -> Iterator[tuple[str, bytes | None]]:
    """Flip one bit: in the first byte, in the last one, and in one anywhere between."""
    random_place = random.Random(name).randrange(len(data))  # noqa: S311 - no secret
    for bit, place in enumerate((0, len(data) - 1, random_place)):
        yield f"bit {bit} of byte {place} flipped", flipped(data, place, bit)


def flipped(data: bytes, place: int, bit: int) -> bytes:
    """Return `data` with one bit flipped."""
    return data[:place] + bytes([data[place] ^ (1 << bit)]) + data[place + 1 :]


def resize(name: str, data: bytes, root: Path) -> Iterator[tuple[str, bytes | None]]:
    """Cut an object, or add to it."""
    yield "one byte cut", data[:-1]
    yield "emptied", b""
    yield "one byte added", data + b"\0"


def delete(name: str, data: bytes, root: Path) -> Iterator[tuple[str, bytes | None]]:
    """Remove an object."""
    yield "deleted", None


def swap(name: str, data: bytes, root: Path) -> Iterator[tuple[str, bytes | None]]:
    """Put the same object of another set, fragment or column in its place."""
    own = Objects.of_set(root, SMALL, NAME).of
    for what, small, other in (("source", OTHER_SOURCE, "other"), ("transform", OTHER_TRANSFORM, "third")):
        path = Objects.of_set(root, small, other).of.get(name)
        if path is not None:
            yield f"from another {what}", (root / path).read_bytes()
    column, _, fragment = name.removeprefix("data.zarr/").partition("/c/")
    if fragment:
        neighbours = [
            f"data.zarr/{column}/c/{2 - int(fragment)}",
            f"data.zarr/{LOOKALIKE[column]}/c/{fragment}",
        ]
    else:
        neighbours = ["records/00002.json"] if name == "records/00000.json" else []
    for path in neighbours:
        if path in own and path != name:
            yield f"from {path}", (root / own[path]).read_bytes()


LOOKALIKE = {
    "index": "value",
    "value": "index",
    "nnz": "n_bins",
    "n_bins": "nnz",
    "label": "n_events",
    "n_events": "nnz",
    "start": "check",
    "check": "start",
}
"""For every column, another one whose objects can be decoded in its place, or nearly so."""

KINDS: dict[str, Damaging] = {"flip": flip, "resize": resize, "delete": delete, "swap": swap}


def survey(root: Path, kind: str, *, data_only: bool = False) -> tuple[int, list[str]]:
    """Damage all objects, one at a time, and restore them.

    Returns
    -------
    int
        Number of cases.
    list of str
        Faults of the store: cases in which it did not report the damage correctly.
    """
    tried, wrong = 0, []
    for name, path in Objects.of_set(root, SMALL, NAME).of.items():
        if data_only and "/c/" not in name:
            continue
        place = root / path
        original = place.read_bytes()
        for what, data in KINDS[kind](name, original, root):
            if data == original:
                continue
            tried += 1
            place.unlink()
            if data is not None:
                place.write_bytes(data)
            wrong += [f"{name} {what}: {complaint}" for complaint in complaints(root, name, path)]
        place.write_bytes(original)
    return tried, wrong


def complaints(root: Path, name: str, path: str) -> Iterator[str]:
    """Read the damaged set in several ways and verify it; yield each fault that a user would report."""
    try:
        features = Store(root)[f"{NAME}:train"]
    except SpikestoreError as error:
        # A name that has no entry any more is unknown; every other damage names its object.
        if not name.endswith(".json") or (path not in str(error) and (root / path).exists()):
            yield f"opening says {error}"
        return
    if name in {"manifest.json", "00000001.json"}:
        yield "was opened nevertheless"
    yield from _read(lambda: same(features.read(), SMALL.truth), path)
    fragment = int(name.rpartition("/")[2]) if "/c/" in name else 0
    row = min(fragment * 64 + 40, len(SMALL) - 1)
    yield from _read(lambda: same(features.read(row, row + 1), SMALL.truth, row, row + 1), path)
    found = verify(features)
    if path not in {one.path for one in found}:
        yield f"verify says {found}"


def _read(equal: Callable[[], bool], path: str) -> Iterator[str]:
    try:
        if not equal():
            yield "a read returned changed values"
    except DamagedError as error:
        if path not in error.details["objects"] or path not in str(error):
            yield f"the error of a read does not name it: {error}"
    except SpikestoreError as error:
        yield f"a read fails otherwise: {error}"


def main(root: Path, kinds: list[str]) -> None:
    """Damage all objects with zarrs as the codec pipeline; print the faults."""
    zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"})
    # zarrs documents that it opens its own store beside zarr-python's; nothing here depends on which one reads.
    warnings.filterwarnings("ignore", message=".*zarrs.*", category=UserWarning)
    vars(column_readers)["packed_objects"] = lambda *_: None  # as for codecs that only Zarr knows
    reader: Any = Store(root)[f"{NAME}:train"]._rows.reader
    pipeline = type(reader._arrays["index"].async_array.codec_pipeline).__name__
    print(f"read with {pipeline}")  # noqa: T201 - the test reads it
    for kind in kinds:
        tried, wrong = survey(root, kind, data_only=True)
        print(f"{kind}: {tried} tried", *wrong, sep="\n  ")  # noqa: T201 - the test reads it


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
