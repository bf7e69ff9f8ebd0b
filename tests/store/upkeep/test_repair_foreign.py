"""Repair of a set that has entries of other programs."""

from __future__ import annotations

from pathlib import Path

from tests.store.small_sets import small_set

from spikestore.store.storage import FolderStorage
from spikestore.store.upkeep.repair import repair


def test_a_foreign_folder_does_not_stop_the_repair(tmp_path: Path) -> None:
    """A folder that is not empty stays and is reported; everything else is repaired."""
    storage = FolderStorage(tmp_path)
    features = small_set(70).build(storage)
    foreign = f"{features.address.build(features.manifest.plan_id)}/records/foreign.json"
    (tmp_path / foreign).mkdir()
    (tmp_path / foreign / "file").touch()
    (tmp_path / features.address.plan).write_bytes(b"?")
    result = repair(features)
    assert [one.path for one in result.repaired] == [features.address.plan]
    assert [(one.path, one.kind) for one in result.left] == [(foreign, "foreign")]
