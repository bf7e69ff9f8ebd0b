"""Ctrl-C while a server does not respond: the process ends at once, and no other process remains."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from tests.store.tiny_s3 import TinyS3, tiny_s3
from tests.train.conftest import learnable

from spikestore.store import Store
from spikestore.store.storage.objects import ObjectStorage

SCRIPT = """
import json, sys, threading
from spikestore.store import Store
from spikestore.store.storage.objects import ObjectStorage
from spikestore.train import FeatureLoader

def interrupted(shuffle):
    try:
        storage = ObjectStorage.from_url("s3://store/x", **json.loads(sys.argv[1]))
        loader = FeatureLoader(Store(storage)["many:train"], 16, "stream", shuffle=shuffle, window=512)
        for number, batch in enumerate(loader):
            print("batch", number, flush=True)
    except KeyboardInterrupt:
        waited_for = [one.name for one in threading.enumerate() if not one.daemon]
        print("interrupted", waited_for, flush=True)

interrupted(shuffle=True)
if sys.stdin.readline():
    interrupted(shuffle=False)
    sys.exit(130)
"""
"""Two uses of a store in one script of a user, because importing torch takes longer than both."""

SHARED = Path("/dev/shm")  # noqa: S108 - looked at, not written to
FAR_BELOW_S = 20
"""Far less than the 30 s that obstore waits for a silent server before it tries again."""


@pytest.fixture(scope="module")
def server() -> Iterator[TinyS3]:
    """Yield a server with a set of 1500 rows in 8 fragments."""
    with tiny_s3(honours=True) as server:
        store = Store(ObjectStorage.from_url("s3://store/x", **server.options()))
        store.point("many", {"train": learnable("train", 1500, 1).build(store.storage, 192)})
        yield server


@pytest.mark.slow
def test_a_silent_server_does_not_hold_ctrl_c(server: TinyS3) -> None:
    """Ctrl-C ends the process while the main thread resolves a name, and while it waits for reading threads within an epoch."""
    shared = set(SHARED.iterdir()) if SHARED.is_dir() else None
    server.silent = lambda key: key == "store"  # resolving a name lists objects of the bucket
    server.kept_waiting.clear()
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, json.dumps(server.options())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    )
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        assert server.kept_waiting.wait(120)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "interrupted ['MainThread']\n"
        assert time.monotonic() - began < FAR_BELOW_S

        server.silent = lambda key: "index/c/6" in key
        server.kept_waiting.clear()
        process.stdin.write("again\n")
        process.stdin.flush()
        assert server.kept_waiting.wait(120)
        children = psutil.Process(process.pid).children(recursive=True)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
        assert time.monotonic() - began < FAR_BELOW_S
    finally:
        server.silent = lambda key: False
        process.kill()
        process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert "batch 0\n" in out
    assert "interrupted ['MainThread']" in out
    assert err == ""
    assert children == []
    assert shared is None or set(SHARED.iterdir()) <= shared
