"""Tables for notebooks: well-formed, escaped and complete; they raise no errors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from tests.store.damage import SMALL, make_store
from tests.store.small_sets import memory_storage

from spikestore.store import Store
from spikestore.store.notebook import tables


def cells(text: str) -> list[list[str]]:
    """Return the cells of each row; raises an error if the text is not well-formed."""
    root = ElementTree.fromstring(text)  # noqa: S314 - our own text
    return [["".join(cell.itertext()) for cell in row] for row in root.findall("./tbody/tr")]


def test_a_set() -> None:
    """Its facts are those of the manifest."""
    features = SMALL.build(memory_storage())
    found = dict(cells(features._repr_html_()))
    assert found["digest"] == features.digest[:12]
    assert found["samples"] == "170, of which 2 are skipped"
    assert found["transform"] == "to_frame"


def test_texts_are_escaped() -> None:
    """A class name that contains a script is shown as text."""
    names = ("<script>alert(1)</script>", "no & yes")
    evil = replace(SMALL, layout=SMALL.layout.model_copy(update={"classes": names}))
    text = evil.build(memory_storage())._repr_html_()
    assert "<script>" not in text
    assert "<script>alert(1)</script>, no & yes" in dict(cells(text))["classes"]


def test_a_store_with_a_damaged_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each named set has a row; a damaged one has the reason."""
    make_store(tmp_path)
    store = Store(tmp_path)
    assert [row[0] for row in cells(store._repr_html_())] == ["other:valid", "small:train", "third:train"]
    (tmp_path / SMALL.address.manifest).write_bytes(b"{}")
    rows = {row[0]: row for row in cells(Store(tmp_path)._repr_html_())}
    assert "damaged" in rows["small:train"][1]
    assert rows["third:train"][2] == "170"
    monkeypatch.setattr(tables, "MOST_SETS", 1)
    assert [row[0] for row in cells(store._repr_html_())] == ["other:valid", "… and 2 more"]
