"""Forges committed feature sets: their documents have valid hashes and agree with each other, but their content is false.

All hashes are computed again, down to the digest and the pin of the name, so that only the meaning of the content reveals a
forgery. Tests of all packages use this module: they make a change, and look which check notices it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from tests.store.small_sets import SmallSet, small_set

from spikestore.store import FeatureSet, SampleColumns, Store
from spikestore.store.columns.digest import block_checks, block_digests, check_seed, set_digest
from spikestore.store.columns.zarr_reader import encode_fragment
from spikestore.store_schemas import Address
from spikestore.store_schemas.documents.plan import Plan
from spikestore.store_schemas.layout import BLOCK
from spikestore.store_schemas.specs.canonical import canonical_json, seal, unseal

SMALL = small_set(140)
"""The set that is forged."""

Change = Callable[[dict[str, Any]], object]
"""Changes a document in place."""


def reseal(place: Path, change: Change) -> None:
    """Change a stored document, and seal it again."""
    document = unseal(place.read_bytes(), path=place.name)
    change(document)
    place.write_bytes(seal(document))


class Forgery:
    """A set in a folder store that can be changed so that all its documents still agree with each other.

    Parameters
    ----------
    root : Path
        A store.
    address : Address
        The set.
    """

    def __init__(self, root: Path, address: Address = SMALL.address) -> None:
        self.root = root
        self.address = address
        self.manifest = root / address.manifest
        self.plan = Plan.from_bytes((root / address.plan).read_bytes(), path="plan.json")
        self._build = root / address.build(self.plan.hash[:12])
        self.data = self._build / "data.zarr"

    @classmethod
    def build(cls, root: Path, small: SmallSet = SMALL) -> Forgery:
        """Build a set in a folder, under the name ``small``."""
        store = Store(root)
        store.point("small", {"train": small.build(store.storage)})
        return cls(root, small.address)

    @property
    def features(self) -> FeatureSet:
        """The set as it is now."""
        return Store(self.root)[f"{self.address.transform_key}/{self.address.source_key}"]

    def rows(self, fragment: int = 0) -> SampleColumns:
        """Return copies of a fragment's columns, to be changed; the set must not be forged yet."""
        place = self.plan.rows(fragment)
        return self.features.read(place.start, place.stop)

    def replace_rows(self, columns: SampleColumns, fragment: int = 0) -> None:
        """Store other rows, with hashes, counts, largest values and digest as a builder would compute them."""
        layout, seed = self.plan.layout, check_seed(*self.address)
        check = block_checks(columns, layout, seed, self.plan.rows(fragment).start // BLOCK)
        objects = encode_fragment(self.plan, fragment, columns, check)
        for path in layout.fragment_objects(fragment, 1):
            (self.data / path).unlink(missing_ok=True)
        for path, data in objects.items():
            (self.data / path).parent.mkdir(exist_ok=True)
            (self.data / path).write_bytes(data)
        numbers = {
            "nnz": len(columns.index),
            "n_bins": int(columns.n_bins.max()),
            "max_index": int(columns.index.max(initial=0)),
            "max_value": int(columns.value.max(initial=0)),
        }

        def promise(record: dict[str, Any]) -> None:
            record.update(numbers, blocks=block_digests(columns, layout))
            record["objects"] = [
                {"path": path, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
                for path, data in sorted(objects.items())
            ]

        self.change_record(promise, fragment)
        self.add_up()

    def add_up(self) -> None:
        """Make the manifest agree with all records."""
        records = [
            unseal(place.read_bytes(), path=place.name) for place in sorted(self._build.glob("records/*"))
        ]
        blocks = [block for record in records for block in record["blocks"]]

        def total(manifest: dict[str, Any]) -> None:
            skipped = [row["row"] for row in manifest["skipped"]]
            manifest["digest"] = set_digest(self.plan.layout, self.plan.samples, skipped, blocks)
            manifest["nnz"] = sum(record["nnz"] for record in records)
            for name in ("n_bins", "max_index", "max_value"):
                manifest[name] = max(record[name] for record in records)
            for row, record in zip(manifest["fragments"], records, strict=True):
                row[1:3] = record["nnz"], record["n_bins"]

        self.change_manifest(total)

    def change_manifest(self, change: Change) -> None:
        """Change the manifest, and the digest that the name pins."""
        reseal(self.manifest, change)
        digest = json.loads(self.manifest.read_bytes()).get("digest", "")

        def pin(document: dict[str, Any]) -> None:
            for one in document["splits"].values():
                if (one["transform_key"], one["source_key"]) == self.address:
                    one["digest"] = digest

        for entry in self.root.glob("refs/*/*.json"):
            reseal(entry, pin)

    def change_record(self, change: Change, fragment: int = 0) -> None:
        """Change a record, and make the manifest agree with it."""
        place = self._build / f"records/{fragment:05d}.json"
        reseal(place, change)

        def vouch(document: dict[str, Any]) -> None:
            document["fragments"][fragment][3] = hashlib.sha256(place.read_bytes()).hexdigest()

        self.change_manifest(vouch)

    def change_root(self, change: Change) -> None:
        """Change ``zarr.json``, and make the manifest agree with it."""
        place = self.data / "zarr.json"
        document = json.loads(place.read_bytes())
        change(document)
        place.write_bytes(canonical_json(document))
        self.vouch_for_root()

    def vouch_for_root(self) -> None:
        """Make the manifest agree with the present ``zarr.json``."""
        place = self.data / "zarr.json"

        def vouch(manifest: dict[str, Any]) -> None:
            manifest["zarr"] = hashlib.sha256(place.read_bytes()).hexdigest()

        self.change_manifest(vouch)

    def replace_object(self, path: str, data: bytes, fragment: int = 0) -> None:
        """Replace an object, and make its record agree with it."""
        (self.data / path).write_bytes(data)

        def vouch(document: dict[str, Any]) -> None:
            for entry in document["objects"]:
                if entry["path"] == path:
                    entry.update(size=len(data), sha256=hashlib.sha256(data).hexdigest())

        self.change_record(vouch, fragment)


def with_column(columns: SampleColumns, name: str, place: int, number: int) -> SampleColumns:
    """Return columns in which one number of a column is replaced."""
    column: Any = (columns.extras[name] if name in columns.extras else getattr(columns, name)).copy()
    column[place] = number
    if name in columns.extras:
        return replace(columns, extras={**columns.extras, name: column})
    changed: dict[str, Any] = {name: column}
    return replace(columns, **changed)


def with_row(columns: SampleColumns, row: int, index: list[int], value: list[int]) -> SampleColumns:
    """Return columns in which a row has these non-zeros."""
    first, last = columns.offsets()[row : row + 2]

    def spliced(column: np.ndarray[Any, Any], inside: list[int]) -> np.ndarray[Any, Any]:
        middle = np.array(inside, column.dtype)
        return np.concatenate([column[:first], middle, column[last:]])

    counted = with_column(columns, "nnz", row, len(index))
    return replace(counted, index=spliced(columns.index, index), value=spliced(columns.value, value))
