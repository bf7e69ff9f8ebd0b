"""The command ``repair`` with several sets: one that cannot be repaired does not stop the others, and the JSON has all of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.faults.forger import Forgery
from tests.store.small_sets import small_set

from spikestore.store import Store, verify
from spikestore.store.cli.main import main

FIRST, SECOND = small_set(140), small_set(64, split="valid", seed=2)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Return a store with ``both:train``, whose manifest is damaged, and ``both:valid``, one document of which is missing."""
    Forgery.build(tmp_path / "store", FIRST)
    store = Store(tmp_path / "store")
    store.point("both", {"train": store["small:train"], "valid": SECOND.build(store.storage)})
    (tmp_path / "store" / store["both:valid"].data_path / "zarr.json").unlink()
    (tmp_path / "store" / FIRST.address.manifest).write_bytes(b"{}")
    return store


@pytest.mark.parametrize("names", [("both",), ("both:train", "both:valid"), ("both", "both:valid")])
def test_a_damaged_manifest_does_not_stop_the_repair_of_other_sets(
    store: Store, names: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """A set that two arguments select is repaired and reported once."""
    assert main(["repair", *names, "--store", store.storage.url, "--json"]) == 1
    said = capsys.readouterr()
    document = json.loads(said.out)
    assert len(document["both:valid"]["repaired"]) == 1
    assert "To restore the manifest, run spikestore repair " in document["both:train"]["error"]
    assert "both:train: " in said.err
    assert verify(store["both:valid"]) == []


def test_a_removed_manifest_is_in_the_json(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    """Only the text on stderr said so."""
    assert main(["repair", "both", "--uncommit", "--store", store.storage.url, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["both:train"] == {"repaired": [], "left": [], "removed": FIRST.address.manifest}
    assert len(document["both:valid"]["repaired"]) == 1
