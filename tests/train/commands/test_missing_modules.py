"""Commands of training where only torch is installed: one line names the extra."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.slow
@pytest.mark.parametrize("module", ["numba", "tensorboard"])
def test_the_extra_is_named(module: str) -> None:
    """It is not reported as a bug; numba is in the extra ``pipeline`` too, which would not help."""
    source = f"import sys; sys.modules[{module!r}] = None; from spikestore.store.cli.main import main; sys.exit(main(['evaluate', 'x']))"
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=False)
    expected = (
        "spikestore: error: spikestore evaluate needs the extra 'train': pip install 'spikestore[train]'\n"
    )
    assert (done.returncode, done.stdout, done.stderr) == (2, "", expected)
