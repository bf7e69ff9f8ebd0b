"""Ranks that train together: what they give is what one process gives."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.train import rank_steps

RANKS = 2


@pytest.fixture(scope="module")
def together(store_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return what all cases gave on two ranks."""
    out = tmp_path_factory.mktemp("ranks") / "found.pt"
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(RANKS)]
    done = subprocess.run(
        [sys.executable, *launch, str(Path(rank_steps.__file__)), str(store_folder), str(out)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return torch.load(out)


@pytest.mark.parametrize("name", rank_steps.CASES)
def test_equals_one_process(name: str, together: Any, store_folder: Path) -> None:
    """Losses, weights, spikes and accuracy of two gloo ranks are those of one process at the same global batch."""
    found, wanted = together[name], rank_steps.case(name, store_folder)
    # A spike more or less at the threshold moves a loss by more than rounding does; in half precision there are some.
    tolerance = 1e-5 if rank_steps.CASES[name][1] == "float32" else 2e-3
    assert len(wanted["losses"].unique()) == len(wanted["losses"])
    torch.testing.assert_close(found["losses"], wanted["losses"], rtol=tolerance, atol=tolerance)
    assert found["weights"].keys() == wanted["weights"].keys()
    for parameter, value in wanted["weights"].items():
        torch.testing.assert_close(found["weights"][parameter], value, rtol=10 * tolerance, atol=tolerance)
    for layer, (spikes, places) in wanted["spikes"].items():
        assert found["spikes"][layer][1] == places
        assert found["spikes"][layer][0] == pytest.approx(spikes, rel=1e-3)
    assert found.get("accuracy") == wanted.get("accuracy")
