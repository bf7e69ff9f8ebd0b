"""Paths of a feature set in a store."""

from __future__ import annotations

from typing import NamedTuple


class Address(NamedTuple):
    """Keys of a feature set, and the paths in a store that follow from them."""

    transform_key: str
    source_key: str

    @property
    def short(self) -> str:
        """First 12 digits of both keys, as ``ls`` shows them."""
        return f"{self.transform_key[:12]}/{self.source_key[:12]}"

    @property
    def folder(self) -> str:
        """Path of the set's folder."""
        return f"features/{self.transform_key}/{self.source_key}"

    @property
    def manifest(self) -> str:
        """Path of the set's manifest, below the store's root."""
        return f"{self.folder}/manifest.json"

    @property
    def plan(self) -> str:
        """Path of the plan of the set's build, below the store's root."""
        return f"{self.folder}/plan.json"

    def build(self, plan_id: str) -> str:
        """Return the path of a build's folder."""
        return f"{self.folder}/builds/{plan_id}"

    def record(self, plan_id: str, fragment: int) -> str:
        """Return the path of a fragment's record, the document that is written when the fragment is complete."""
        return f"{self.build(plan_id)}/records/{fragment:05d}.json"

    def data(self, plan_id: str) -> str:
        """Return the path of a build's Zarr group."""
        return f"{self.build(plan_id)}/data.zarr"
