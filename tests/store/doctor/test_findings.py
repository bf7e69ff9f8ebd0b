"""Checks that fail become findings, and findings before the failure are kept."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator

import pytest

from spikestore.store.doctor.findings import Finding, findings_of, findings_of_entry_points
from spikestore.store_schemas.errors import UsageError


@pytest.mark.parametrize("error", [UsageError("no such place"), RuntimeError("a broken\npackage")])
def test_a_check_that_raises(error: Exception) -> None:
    """The error is the last finding, in one line and with a remedy."""

    def check() -> Iterator[Finding]:
        yield Finding("first", "ok", "works")
        raise error

    first, last = findings_of(check)
    assert first.state == "ok"
    assert last.state == "problem"
    assert str(error).splitlines()[0] in last.detail
    assert "\n" not in last.detail
    assert last.remedy


def test_packages_that_are_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    """A check whose packages are not installed names the extra."""

    class Absent:
        name, value = "train", "spikestore.train.checks:checks"

        def load(self) -> object:
            raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [Absent()])
    [(topic, [finding])] = findings_of_entry_points()
    assert (topic, finding.state, finding.detail) == ("train", "absent", "torch is not installed")
    assert finding.remedy is not None
    assert "spikestore[train]" in finding.remedy
    # A package of somebody else: spikestore has no extra of its name.
    Absent.name, Absent.value = "wand", "wand_lab.checks:checks"
    [(topic, [finding])] = findings_of_entry_points()
    assert (topic, finding.state, finding.remedy) == ("wand", "absent", "install the package that is missing")


def test_a_check_that_cannot_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of any class is a finding, and the checks of the other packages still run."""

    class Broken:
        name = "broken"

        def load(self) -> object:
            raise AttributeError("module 'wand' has no attribute 'checks'")

    class Works:
        name = "works"

        def load(self) -> object:
            return lambda: [Finding("part", "ok", "works")]

        def __lt__(self, other: object) -> bool:
            return False

    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [Broken(), Works()])
    (topic, [finding]), (_, [other]) = findings_of_entry_points()
    assert (topic, finding.state) == ("broken", "problem")
    assert "AttributeError: module 'wand'" in finding.detail
    assert other.state == "ok"
