"""``spikestore diff``: its output and exit status."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.store.damage import OTHER_SOURCE, OTHER_TRANSFORM, SMALL
from tests.store.small_sets import small_set

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


def test_json_of_samples_with_other_numbers_of_bins(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The number of equal samples became a NumPy number, which JSON does not have."""
    store = Store(tmp_path / "store")
    for name, skipped in (("one", (3, 130)), ("two", (3,))):
        made = small_set(140, time_window=1000.0 * len(skipped), skipped=skipped)
        store.point(name, {"train": made.build(store.storage)})
    assert main(["diff", "one", "two", "--store", store.storage.url, "--json"]) == 1
    [document] = json.loads(capsys.readouterr().out)["sets"]
    assert (document["samples"]["recordings"], document["samples"]["equal"] < 140) == (140, True)


def test_a_name_that_is_not_there(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown name is one line that names it."""
    assert main(["diff", "small", "nobody", "--store", store]) != 0
    assert "nobody" in capsys.readouterr().err
