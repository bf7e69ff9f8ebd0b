"""``spikestore doctor``: topics, remedies, exit status, JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from spikestore.store.cli.commands import doctor as command
from spikestore.store.cli.main import main
from spikestore.store.doctor import findings
from spikestore.store.doctor.findings import Finding


@pytest.fixture(autouse=True)
def _one_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the checks of other packages, which are tested elsewhere."""
    found = [("extra", [Finding("part", "absent", "not installed", "pip install part")])]
    monkeypatch.setattr(findings, "findings_of_entry_points", lambda: iter(found))


def test_no_problem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each topic has its findings; an absent package is shown with a remedy, and is no problem."""
    assert main(["doctor", "--store", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert [line for line in out.splitlines() if not line.startswith(" ")] == ["machine", "store", "extra"]
    assert "pip install part" in out


def test_a_check_without_findings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The topic of a package whose check yields nothing is shown without lines."""
    monkeypatch.setattr(findings, "findings_of_entry_points", lambda: iter([("silent", [])]))
    assert main(["doctor", "--store", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "silent"


def test_a_problem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The exit status is 1, and the JSON has the number of problems and the remedy."""
    (tmp_path / "file").write_text("")
    assert main(["doctor", "--store", str(tmp_path / "file"), "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["problems"] >= 1
    assert any(one["state"] == "problem" and one["remedy"] for one in document["store"])
    assert command.__doc__
