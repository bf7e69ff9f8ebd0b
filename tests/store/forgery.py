"""Forges committed sets: documents that are sealed, and vouch for one another, and lie."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.store.small_sets import SmallSet, small_set

from spikestore.store import Store
from spikestore.store_schemas.specs.canonical import canonical_json, seal, unseal

SMALL = small_set(140)
"""What is forged."""

Change = Callable[[dict[str, Any]], object]
"""Changes a document in place."""


def reseal(place: Path, change: Change) -> None:
    """Change a stored document, and seal it again."""
    document = unseal(place.read_bytes(), path=place.name)
    change(document)
    place.write_bytes(seal(document))


class Forgery:
    """A set in a folder store, to be changed as somebody would who wants to be believed.

    Parameters
    ----------
    root : Path
        A store that `build` made.
    small : SmallSet
        What the set is made of.
    """

    def __init__(self, root: Path, small: SmallSet = SMALL) -> None:
        self.root = root
        self._build = root / small.address.build(small.plan().hash[:12])
        self.data = self._build / "data.zarr"
        self.manifest = root / small.address.manifest

    @classmethod
    def build(cls, root: Path, small: SmallSet = SMALL) -> Forgery:
        """Build the set in a folder, under the name ``small``."""
        store = Store(root)
        store.point("small", {"train": small.build(store.storage)})
        return cls(root, small)

    def change_manifest(self, change: Change) -> None:
        """Change the manifest, and the digest that the name pins."""
        reseal(self.manifest, change)
        digest = json.loads(self.manifest.read_bytes()).get("digest", "")

        def pin(document: dict[str, Any]) -> None:
            document["splits"]["train"]["digest"] = digest

        reseal(self.root / "refs/small/00000001.json", pin)

    def change_record(self, change: Change, fragment: int = 0) -> None:
        """Change a record, and what the manifest says of it."""
        place = self._build / f"records/{fragment:05d}.json"
        reseal(place, change)

        def vouch(document: dict[str, Any]) -> None:
            document["fragments"][fragment][3] = hashlib.sha256(place.read_bytes()).hexdigest()

        self.change_manifest(vouch)

    def change_root(self, change: Change) -> None:
        """Change ``zarr.json``, and what the manifest says of it."""
        place = self.data / "zarr.json"
        document = json.loads(place.read_bytes())
        change(document)
        place.write_bytes(canonical_json(document))
        self.vouch_for_root()

    def vouch_for_root(self) -> None:
        """Let the manifest say what ``zarr.json`` is now."""
        place = self.data / "zarr.json"

        def vouch(manifest: dict[str, Any]) -> None:
            manifest["zarr"] = hashlib.sha256(place.read_bytes()).hexdigest()

        self.change_manifest(vouch)

    def replace_object(self, path: str, data: bytes, fragment: int = 0) -> None:
        """Replace an object, and what its record says of it."""
        (self.data / path).write_bytes(data)

        def vouch(document: dict[str, Any]) -> None:
            for entry in document["objects"]:
                if entry["path"] == path:
                    entry.update(size=len(data), sha256=hashlib.sha256(data).hexdigest())

        self.change_record(vouch, fragment)
