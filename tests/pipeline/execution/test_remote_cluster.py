"""An existing Dask cluster that loses its workers: no build waits for ever, and stored fragments are kept."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import psutil
import pytest
from distributed import LocalCluster
from tests.pipeline.small_builds import write_recipe, write_ssc
from tests.scenarios.command_runs import ending, wait_until

from spikestore.pipeline import load_recipe, preprocess
from spikestore.pipeline.building.feature_build import BuildRequest, open_build
from spikestore.pipeline.building.options import BuildOptions
from spikestore.pipeline.execution import dask_scheduler
from spikestore.pipeline.execution.dask_scheduler import WorkerError
from spikestore.pipeline.execution.fragment_task import FragmentJob, FragmentReport
from spikestore.pipeline.execution.schedulers import open_scheduler
from spikestore.pipeline.sources.source_files import make_source
from spikestore.store import Store


class Cluster:
    """A scheduler of Dask's own command, and its workers."""

    def __init__(self, folder: Path, processes: contextlib.ExitStack) -> None:
        self.file, self._processes = folder / "scheduler.json", processes
        self.scheduler = self._start("scheduler")
        wait_until(self._is_written, "the scheduler's file", self.scheduler)
        self.address = str(json.loads(self.file.read_text())["address"])

    def start_worker(self) -> subprocess.Popen[str]:
        """Start a worker without a nanny, which would start it again."""
        return self._start("worker", "--nthreads", "1", "--no-nanny", "--no-dashboard")

    def _is_written(self) -> bool:
        return self.file.exists() and self.file.read_text().rstrip().endswith("}")

    def _start(self, kind: str, *arguments: str) -> subprocess.Popen[str]:
        port = ("--port", "0") if kind == "scheduler" else ()
        common = ("--host", "127.0.0.1", "--dashboard-address=:0", "--scheduler-file", str(self.file))
        process = subprocess.Popen(
            [sys.executable, "-m", "dask", kind, *common, *port, *arguments],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            cwd=self.file.parent,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        return self._processes.enter_context(ending(process))


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Yield a cluster without workers, and end what it started."""
    folder = tmp_path / "cluster"
    folder.mkdir()
    with contextlib.ExitStack() as processes:
        yield Cluster(folder, processes)


def kill(process: subprocess.Popen[str]) -> None:
    """Kill a process, as if its machine was lost."""
    psutil.Process(process.pid).kill()
    process.wait(20)


class Job:
    """Stand-in for a job; no worker uses it."""

    def only(self, fragment: int) -> int:
        """Return what a fragment needs."""
        return fragment


def test_a_cluster_of_threads_loses_its_worker(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A warning comes at once, and an error of one line after the stated time; a worker that returns in time is used."""
    monkeypatch.setattr(dask_scheduler, "_WITHOUT_WORKERS", 0.3)
    monkeypatch.setattr(dask_scheduler, "_CLUSTER_POLL_SECONDS", 0.05)
    monkeypatch.setattr(
        dask_scheduler, "_run_in_worker", lambda job, fragment: FragmentReport(fragment, 1, 1, 0.1)
    )
    job = cast("FragmentJob", Job())
    with (
        caplog.at_level(logging.WARNING, "spikestore"),
        LocalCluster(
            n_workers=1, processes=False, protocol="tcp://", host="127.0.0.1", dashboard_address=":0"
        ) as cluster,
        open_scheduler(scheduler=cluster.scheduler_address) as runs,
    ):
        assert [one.fragment for one in runs.run(job, [0])] == [0]
        cluster.scale(0)
        wait_until(lambda: not cluster.scheduler_info["workers"], "the end of the worker")
        with pytest.raises(WorkerError, match=r"lost all its workers.*no worker connected within 0\.3 s"):
            list(runs.run(job, [1, 2]))
        assert "the Dask cluster has no worker left: waiting 0.3 s for new workers" in caplog.text
        monkeypatch.setattr(dask_scheduler, "_WITHOUT_WORKERS", 60.0)
        cluster.scale(1)
        assert [one.fragment for one in runs.run(job, [1])] == [1]


@pytest.mark.slow
def test_all_workers_are_lost(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """After all workers are killed, stored fragments stay, and the same build resumes from them."""
    monkeypatch.setattr(dask_scheduler, "_WITHOUT_WORKERS", 1.0)
    monkeypatch.setattr(dask_scheduler, "_CLUSTER_POLL_SECONDS", 0.1)
    write_ssc(tmp_path / "data")
    recipe = load_recipe(write_recipe(tmp_path))
    located, transform = make_source("SSC", "train", tmp_path / "data"), recipe.transform_spec()
    store = Store(tmp_path / "store")
    worker = cluster.start_worker()
    with open_scheduler(scheduler=cluster.address) as runs:
        build = open_build(store.storage, located, transform, BuildRequest(1, 64))
        job = FragmentJob(build, located, transform)
        assert [one.fragment for one in runs.run(job, [0])] == [0]
        kill(worker)
        with (
            caplog.at_level(logging.WARNING, "spikestore"),
            pytest.raises(
                WorkerError,
                match=r"lost all its workers.*no worker connected within 1 s.*rerun the same command",
            ),
        ):
            list(runs.run(job, [1, 2]))
        assert "the Dask cluster has no worker left" in caplog.text
        # Two more workers in time, and the build continues without a new command.
        monkeypatch.setattr(dask_scheduler, "_WITHOUT_WORKERS", 60.0)
        rest = runs.run(job, [1])
        cluster.start_worker()
        assert [one.fragment for one in rest] == [1]
    records = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("records/*")}
    assert build.unfinished() == [2]
    features = preprocess(
        tmp_path / "r.toml", store=store, workers=0, options=BuildOptions(fragment_samples=64)
    )["train"]
    assert len(features) == 150
    assert {path: path.stat().st_mtime_ns for path in records} == records
