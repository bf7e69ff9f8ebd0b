"""``spikestore show``: distributions as sparklines and as JSON, and samples that cannot be read."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest
from tests.store.small_sets import small_set

from spikestore.store import Store
from spikestore.store.cli.main import main
from spikestore.store.overview.distributions import distributions
from spikestore.store.overview.sparkline import ASCII, sparkline

SMALL = small_set()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a store with one set; only the last test changes it."""
    store = Store(tmp_path_factory.mktemp("store"))
    store.point("small", {"train": SMALL.build(store.storage)})
    return store.storage.url


def test_distributions(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Text and JSON have the distributions of the set."""
    read = distributions(Store(store)["small:train"])
    assert main(["show", "small:train", "--store", store]) == 0
    lines = {line[2:13].strip(): line[14:] for line in capsys.readouterr().out.splitlines()}
    assert lines["per bin"] == f"{sparkline(read.bins)}  events, 0 to 76 ms"
    assert lines["per channel"] == f"{sparkline(read.sites['x'])}  events, channel 0 to 9"
    assert lines["lengths"].endswith("  8 to 19 bins, of 168 samples")
    assert main(["show", "small:train", "--store", store, "--json"]) == 0
    (document,) = json.loads(capsys.readouterr().out)
    assert document["distributions"] == read.to_json()


def test_a_terminal_without_block_characters(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """ASCII characters take their place."""
    data = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(data, encoding="latin-1"))
    assert main(["show", "small:train", "--store", store]) == 0
    shown = data.getvalue().decode("latin-1")
    assert f"  per bin     {sparkline(distributions(Store(store)['small:train']).bins, ASCII)}" in shown
    assert "\\u" not in shown


def test_samples_that_cannot_be_read(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The manifest is shown, the damage is named, and the exit status is 1."""
    path = next((Path(store) / SMALL.address.folder).rglob("value/c/0"))
    path.write_bytes(b"")
    assert main(["show", "small:train", "--store", store]) == 1
    captured = capsys.readouterr()
    assert "samples     170" in captured.out
    assert "per bin" not in captured.out
    assert "value/c/0" in captured.err
    assert main(["show", "small:train", "--store", store, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)[0]["distributions"] is None
