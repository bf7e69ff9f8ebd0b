"""Workers reuse the memory of freed arrays, regardless of the settings of Dask's nannies."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

SCRIPT = """
import ctypes, resource, sys

ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # PR_SET_THP_DISABLE: a huge page would be one fault for 512 pages
import numpy as np
from spikestore.pipeline.execution.worker_memory import keep_memory

if "keep" in sys.argv:
    assert keep_memory()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        np.ones(2**20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's own way")
def test_arrays_of_the_next_task_cost_no_page_faults() -> None:
    """20 arrays of 8 MiB are 40,000 pages under the nannies' setting, and next to none when memory is kept."""
    environment = {**os.environ, "MALLOC_TRIM_THRESHOLD_": "65536"}

    def faults(*how: str) -> int:
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, *how], env=environment, capture_output=True, text=True, check=True
        )
        return int(done.stdout)

    assert faults() > 10_000
    assert faults("keep") < 1_000
