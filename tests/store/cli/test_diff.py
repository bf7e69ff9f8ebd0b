"""``spikestore diff``: its output and exit status."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.store.damage import OTHER_SOURCE, OTHER_TRANSFORM, SMALL

from spikestore.store import Store
from spikestore.store.cli.main import main


@pytest.fixture
def store(tmp_path: Path) -> str:
    """Return a store of three names."""
    store = Store(tmp_path / "store")
    store.point("small", {"train": SMALL.build(store.storage)})
    store.point("other", {"valid": OTHER_SOURCE.build(store.storage)})
    store.point("third", {"train": OTHER_TRANSFORM.build(store.storage)})
    return str(tmp_path / "store")


def test_equal_sets(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A set equals itself, and the exit status is 0."""
    assert main(["diff", "small", "small:train", "--store", store]) == 0
    assert "the samples are equal" in capsys.readouterr().out


def test_another_split(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    """For sets of other recordings, only their specs are compared; the exit status is 1."""
    assert main(["diff", "small", "other", "--store", store]) == 1
    out = capsys.readouterr().out
    assert "source.split: train → valid" in out
    assert "not known which recordings are the same" in out


def test_json(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The JSON has the same differences as the text."""
    assert main(["diff", "small", "third", "--store", store, "--json"]) == 1
    [document] = json.loads(capsys.readouterr().out)["sets"]
    assert document["equal"] is False
    assert {"where": "to_frame.time_window", "first": 4000.0, "second": 5000.0} in document["differences"]


def test_a_name_that_is_not_there(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown name is one line that names it."""
    assert main(["diff", "small", "nobody", "--store", store]) != 0
    assert "nobody" in capsys.readouterr().err
