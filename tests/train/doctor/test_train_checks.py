"""Checks of training."""

from __future__ import annotations

import pytest
import torch

from spikestore.train.doctor import train_checks as checks


def test_neurons_of_this_machine() -> None:
    """The layer has the spikes of a loop over time in torch."""
    assert checks.small_network("cpu").state == "ok"


def test_other_spikes_are_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrong spikes are a problem; the finding names the device and another backend."""

    class Silent(torch.nn.Module):
        def __init__(self, **_: object) -> None:
            super().__init__()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * 0

    monkeypatch.setattr(checks, "IAF", Silent)
    finding = checks.small_network("cpu")
    assert (finding.what, finding.state) == ("neurons on cpu", "problem")
    assert "--backend sinabs" in str(finding.remedy)


def test_what_is_absent_is_no_problem() -> None:
    """Without a GPU all findings are "ok" or "absent"."""
    assert {finding.state for finding in checks.train_checks()} <= {"ok", "absent"}
