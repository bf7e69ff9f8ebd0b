"""Local workers that end are replaced, and no build waits for a worker that cannot start."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from typing import cast

import pytest

from spikestore.pipeline.execution import dask_scheduler, local_cluster
from spikestore.pipeline.execution.dask_scheduler import WorkerError
from spikestore.pipeline.execution.fragment_task import FragmentJob
from spikestore.pipeline.execution.schedulers import open_scheduler


class Job:
    """Stand-in for a job; no worker uses it."""

    def only(self, fragment: int) -> str:
        """Return what a fragment needs."""
        return f"job for {fragment}"


JOB = cast("FragmentJob", Job())


def test_workers_that_end_as_they_start_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that end at once, as with too little memory, cause one line that says how they end."""

    def launch(_: object) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-S", "-c", "raise SystemExit(3)"], stdin=subprocess.PIPE)

    monkeypatch.setattr(local_cluster.WorkerProcesses, "_launch", launch)
    with (
        pytest.raises(WorkerError, match=r"end repeatedly \(status 3\).*or none \(--workers 0\)"),
        open_scheduler(1) as runs,
    ):
        list(runs.run(JOB, [0]))


def test_the_last_worker_that_is_given_up_ends_the_build(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the last worker is given up, the build ends; Dask itself would wait for another worker for ever."""

    def die(job: object, fragment: int) -> None:
        os._exit(3)

    monkeypatch.setattr(dask_scheduler, "_run_in_worker", die)
    monkeypatch.setattr(local_cluster, "_REPLACEMENTS", 0)
    with pytest.raises(WorkerError, match=r"end repeatedly \(status 3\)"), open_scheduler(1) as runs:
        list(runs.run(JOB, [0]))


def test_a_finished_task_ends_the_wait_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two looks for lost workers, the build waits for tasks; here the second look never comes."""

    def run(job: object, fragment: int) -> int:
        return fragment

    monkeypatch.setattr(dask_scheduler, "_run_in_worker", run)
    monkeypatch.setattr(dask_scheduler, "_LOOK_SECONDS", 3600)
    with open_scheduler(1) as runs:
        assert set[object](runs.run(JOB, [0, 1, 2])) == {0, 1, 2}


@pytest.mark.slow
def test_a_worker_that_cannot_be_replaced_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """If no new process can be started, the build ends too."""

    def die(job: object, fragment: int) -> None:
        os._exit(3)

    launch = local_cluster.WorkerProcesses._launch
    launched: list[object] = []

    def launch_once(processes: local_cluster.WorkerProcesses) -> subprocess.Popen[bytes]:
        if launched:
            raise OSError(errno.EAGAIN, "too many processes")
        launched.append(processes)
        return launch(processes)

    monkeypatch.setattr(dask_scheduler, "_run_in_worker", die)
    monkeypatch.setattr(local_cluster.WorkerProcesses, "_launch", launch_once)
    with (
        pytest.raises(WorkerError, match=r"a new one cannot be started.*too many processes"),
        open_scheduler(1) as runs,
    ):
        list(runs.run(JOB, [0]))


def test_local_workers_that_are_not_ready_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The user cannot start local workers, so the advice is another number of workers."""

    def launch(_: object) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE)

    monkeypatch.setattr(local_cluster.WorkerProcesses, "_launch", launch)
    monkeypatch.setattr(dask_scheduler, "_LOCAL_TIMEOUT", 0)
    with (
        pytest.raises(WorkerError, match="no local worker is ready after 0 s: rerun with --workers 0"),
        open_scheduler(1) as runs,
    ):
        list(runs.run(JOB, [0]))
