"""Fixtures of the tests of scenarios, for tests that inject faults."""

from tests.faults.effort import LONG, SEED
from tests.scenarios.conftest import (
    built,
    commands,
    data,
    demo,
    environment,
    run,
    with_torch,
    with_torch_commands,
)
from tests.train.conftest import store_folder

__all__ = [
    "built",
    "commands",
    "data",
    "demo",
    "environment",
    "run",
    "store_folder",
    "with_torch",
    "with_torch_commands",
]


def pytest_report_header() -> str:
    """Return a line that states how to run the same cases again."""
    return f"faults: {'long' if LONG else 'short'} form, FAULTS_SEED={SEED}"
