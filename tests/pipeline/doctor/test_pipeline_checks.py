"""The small build of ``spikestore doctor``."""

from __future__ import annotations

import pytest

from spikestore.pipeline.doctor import pipeline_checks as checks
from spikestore.store_schemas.specs.transform import ExecutorName


@pytest.mark.parametrize("executor", ["fused", "auto", "tonic"])
def test_the_small_build_gives_the_known_digest(executor: ExecutorName) -> None:
    """Compiled code, NumPy and Tonic give the digest that the doctor expects."""
    finding = checks.small_build(executor)
    assert finding.state == "ok", finding


def test_another_digest_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that computes another digest gets the advice not to share its sets."""
    monkeypatch.setattr(checks, "DIGEST", "0" * 64)
    finding = checks.small_build("auto")
    assert finding.state == "problem"
    assert finding.remedy is not None
    assert "do not share" in finding.remedy


def test_without_the_extra_pipeline_nothing_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extras tonic and hdf5-filters bring h5py, and no compiler: their absence is no problem of the machine."""
    monkeypatch.setattr(checks, "find_spec", lambda name: None)
    *_, last = checks.pipeline_checks()
    assert (last.what, last.state) == ("small build", "absent")
    assert last.remedy is not None
    assert "spikestore[pipeline]" in last.remedy
