"""Fragments of a former set whose rows are a fragment of the new set: their bytes are stored again."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from tests.pipeline.folders import save
from tests.pipeline.growing.growing_folders import add, grown, is_as_fresh

from spikestore.store.columns.fragment_facts import SiteRange
from spikestore.store.columns.shard_codec import ShardEncoder

pytestmark = pytest.mark.usefixtures("few_events")


def test_only_other_fragments_are_encoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fragment 0 stays, with other labels; fragment 1 has a new row, so its index and value are encoded."""
    add(tmp_path / "data", **{f"b_{number:03d}": number for number in range(70)})
    grown(tmp_path / "data", tmp_path / "store", fragment_samples=64)
    add(tmp_path / "data", z_1=1000)
    encoded: list[int] = []
    add_values = ShardEncoder.add

    def counted(self: ShardEncoder, values: npt.NDArray[Any], largest: float) -> None:
        encoded.append(len(values))
        add_values(self, values, largest)

    folder = {"classes": ["z", "b"]}
    with monkeypatch.context() as patch:
        patch.setattr(ShardEncoder, "add", counted)
        features = grown(tmp_path / "data", tmp_path / "store", folder=folder)["all"]
    assert sum(encoded) == 2 * features.manifest.fragments[1].nnz
    assert features.column("label")[:64].tolist() == [1] * 64
    assert is_as_fresh(tmp_path / "data", features, tmp_path / "fresh", folder=folder)


@pytest.mark.parametrize("sites", [1, 2])
def test_events_at_one_place_are_reported_as_in_a_fresh_build(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, sites: int
) -> None:
    """Also if another place occurs only in a later row."""
    for number in range(66):
        events = np.zeros(5, [("t", np.int64), ("x", np.int32), ("y", np.int32), ("p", np.uint8)])
        events["t"] = np.arange(5) * 1000 + number  # each recording has another content
        events["x"] = 3 if number < 40 else 2 + sites
        save(tmp_path / f"data/b/{number:03d}.npy", events)
    warnings = []
    for options in ({"fragment_samples": 64}, {}):
        grown(tmp_path / "data", tmp_path / "store", **options)
        messages = [each.message for each in caplog.records if each.levelno == logging.WARNING]
        warnings.append([message for message in messages if "at the same position" in message])
        caplog.clear()
        events["t"] += 1
        save(tmp_path / "data/b/100.npy", events)
    assert [len(each) for each in warnings] == [2 - sites] * 2


def test_places_of_several_chunks_are_the_range_of_all() -> None:
    """The first chunk has one place, and the second another place before it."""
    sites = SiteRange(10)
    for piece in ([15, 25], [3, 13], [9]):
        sites.add(np.array(piece, np.uint32))
    assert sites.range == (3, 5)
