"""Number of random trials: few in each run of the tests, more in CI (``slow``), most with ``make faults``.

``FAULTS=long`` in the environment is set by ``make faults``; ``FAULTS_SEED`` selects other random numbers.
"""

from __future__ import annotations

import os

import pytest

LONG = os.environ.get("FAULTS") == "long"
SEED = int(os.environ.get("FAULTS_SEED", "20261126"))


def cases(short: int, long: int) -> int:
    """Return how many random cases a test tries."""
    return long if LONG else short


only_long = pytest.mark.skipif(not LONG, reason="make faults runs it")
