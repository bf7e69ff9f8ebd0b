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
    """A machine that computes something else is told not to share its sets."""
    monkeypatch.setattr(checks, "DIGEST", "0" * 64)
    finding = checks.small_build("auto")
    assert finding.state == "problem"
    assert finding.remedy is not None
    assert "do not share" in finding.remedy
