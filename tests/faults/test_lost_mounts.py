"""Stores on a disk that is unmounted, or replaced by another disk: neither an empty store, nor the objects of the other disk."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.faults.test_full_disks import MOUNTS, may_mount

SCRIPT = """
import subprocess, sys
from spikestore.store.storage import FolderStorage
from spikestore.store_schemas.errors import SpikestoreError

folder = sys.argv[1]

def mount():
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100k", "spikestore-test", folder], check=True)

def read(storage):
    try:
        print(storage.get("refs/a.json").decode(), storage.get_range("refs/a.json", 1, 3).decode())
    except SpikestoreError as error:
        print(type(error).__name__, error)

mount()
FolderStorage(folder).put_if_absent("refs/a.json", b"first")
storage = FolderStorage(folder)
read(storage)
mount()  # over the first disk: a disk that is mounted after the first one has gone may get its number
FolderStorage(folder).put_if_absent("refs/a.json", b"other")
read(storage)
read(FolderStorage(folder))
subprocess.run(["umount", folder], check=True)
read(storage)
subprocess.run(["umount", folder], check=True)
read(storage)
"""


def test_a_disk_that_is_unmounted_and_one_that_replaces_it(tmp_path: Path) -> None:
    if not may_mount():
        pytest.skip("may not mount a disk in a namespace: unshare --map-root-user --mount fails here")
    done = subprocess.run(
        [*MOUNTS, sys.executable, "-c", SCRIPT, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    before, replaced, opened_later, back, unmounted = done.stdout.splitlines()
    assert before == back == "first ir"
    for line in (unmounted, replaced):
        assert line.startswith("StoreError "), line
        assert "another file system is mounted there" in line, line
    assert opened_later == "other th"
