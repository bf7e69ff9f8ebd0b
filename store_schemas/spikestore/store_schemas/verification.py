"""Verify: compare what is stored with what was committed.

Three depths: `quick` looks at names and sizes; the normal one hashes every stored object, at the speed of
SHA-256, and so finds every flipped bit; `deep` also decodes everything and recomputes the digest.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, NamedTuple

from spikestore.store_schemas.canonical import canonical_json, sha256_hex
from spikestore.store_schemas.digest import block_digests, set_digest
from spikestore.store_schemas.errors import DamagedError, MissingObjectError, StoreError
from spikestore.store_schemas.feature_set import FeatureSet
from spikestore.store_schemas.plan import Plan
from spikestore.store_schemas.record import ObjectEntry
from spikestore.store_schemas.zarr_metadata import documents

Depth = Literal["quick", "normal", "deep"]


class Damage(NamedTuple):
    """One thing that is not as it was committed."""

    path: str
    """The object, below the store's root."""
    what: str
    """What is wrong with it."""


Progress = Callable[[int, int], None]
"""Called with bytes done and bytes in all."""


def verify(
    features: FeatureSet, *, depth: Depth = "normal", progress: Progress | None = None
) -> list[Damage]:
    """Compare a feature set with its manifest.

    The manifest itself was checked when `features` was opened.

    Parameters
    ----------
    features : FeatureSet
        The set.
    depth : {"quick", "normal", "deep"}
        How thorough.
    progress : callable, optional
        Told about stored bytes, done and in all.

    Returns
    -------
    list of Damage
        Empty if all is well; every damaged, missing or unexpected object is named.
    """
    return list(_Verification(features, depth, progress).run())


class _Verification:
    def __init__(self, features: FeatureSet, depth: Depth, progress: Progress | None) -> None:
        self._features = features
        self._depth = depth
        self._progress = progress or (lambda done, total: None)
        self._storage = features.storage
        self._build = features.address.build(features.manifest.plan_id)
        self._done = 0

    def run(self) -> Iterator[Damage]:
        sizes = {entry.path: entry.size for entry in self._storage.list(self._build)}
        self._total = sum(sizes.values())
        expected: set[str] = set()
        broken: list[Damage] = []
        broken += self._plan()
        broken += self._metadata(expected)
        for fragment in range(len(self._features.manifest.fragments)):
            path = self._features.address.record(self._features.manifest.plan_id, fragment)
            expected.add(path)
            try:
                record = self._features.record(fragment)
            except DamagedError as error:
                broken.append(damage_of(error, path))
                # Without its record nobody can say which objects a fragment has: none of them is unexpected.
                expected |= {one for one in sizes if one.endswith(f"/c/{fragment}")}
                continue
            self._count(sizes.get(path, 0))
            for entry in record.objects:
                expected.add(f"{self._features.data_path}/{entry.path}")
                broken += self._object(entry, sizes)
        broken += [Damage(path, "does not belong to the set") for path in sorted(sizes.keys() - expected)]
        yield from broken
        if self._depth == "deep" and not broken:
            yield from self._digest()

    def _plan(self) -> Iterator[Damage]:
        """Check the hint for builders: readers do not need it, but a damaged one would mislead the next build."""
        path = self._features.address.plan
        try:
            plan = Plan.from_bytes(self._storage.get(path), path=path)
        except MissingObjectError:
            yield Damage(path, "missing")
        except StoreError as error:
            yield damage_of(error, path)
        else:
            if (plan.transform_key, plan.source_key) != self._features.address:
                yield Damage(path, "belongs to another feature set")

    def _metadata(self, expected: set[str]) -> Iterator[Damage]:
        data = self._features.data_path
        root_path = f"{data}/zarr.json"
        expected |= {root_path, *(f"{data}/{name}/zarr.json" for name in self._array_names())}
        try:
            root = self._storage.get(root_path)
        except MissingObjectError:
            yield Damage(root_path, "missing")
            return
        if sha256_hex(root) != self._features.manifest.zarr:
            yield Damage(root_path, "its SHA-256 is not what the manifest says")
            return
        for path, document in documents(json.loads(root)).items():
            try:
                stored = self._storage.get(f"{data}/{path}")
            except MissingObjectError:
                yield Damage(f"{data}/{path}", "missing")
                continue
            self._count(len(stored))
            if stored != canonical_json(document):
                yield Damage(f"{data}/{path}", "differs from the consolidated metadata")

    def _array_names(self) -> Iterable[str]:
        return [*(name for name, _ in self._features.layout.columns), "start", "check"]

    def _object(self, entry: ObjectEntry, sizes: dict[str, int]) -> Iterator[Damage]:
        path = f"{self._features.data_path}/{entry.path}"
        if path not in sizes:
            yield Damage(path, "missing")
        elif sizes[path] != entry.size:
            yield Damage(path, f"has {sizes[path]} bytes instead of {entry.size}")
        elif self._depth != "quick":
            try:
                same = sha256_hex(self._storage.get(path)) == entry.sha256
            except StoreError as error:
                yield damage_of(error, path)
            else:
                if not same:
                    yield Damage(path, "its SHA-256 is not what its record says")
        self._count(sizes.get(path, 0))

    def _digest(self) -> Iterator[Damage]:
        features, blocks = self._features, []
        self._done = 0
        try:
            for columns in features.fragments():
                blocks += block_digests(columns, features.layout)
                self._count(self._total // len(features.manifest.fragments))
        except StoreError as error:
            yield damage_of(error, features.data_path)
            return
        skipped = [row.row for row in features.manifest.skipped]
        if set_digest(features.layout, len(features), skipped, blocks) != features.digest:
            yield Damage(features.data_path, "its content does not have the digest that the manifest says")

    def _count(self, size: int) -> None:
        self._done = min(self._done + size, self._total)
        self._progress(self._done, self._total)


def damage_of(error: Exception, path: str) -> Damage:
    """Return the damage that an error tells of: the object that it names, else `path`."""
    objects = getattr(error, "details", {}).get("objects") or (path,)
    return Damage(objects[0], str(error))
