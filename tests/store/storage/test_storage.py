"""The contract of every storage: the same tests run with a folder, memory, and a real S3 server."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from obstore.store import MemoryStore
from tests.store.s3_server import BUCKET, options
from tests.store.small_sets import files_of, same, small_set

from spikestore.store import Store
from spikestore.store.storage import FolderStorage, Storage, StoredObject
from spikestore.store.storage.objects import ObjectStorage
from spikestore.store_schemas.errors import (
    DamagedError,
    MissingObjectError,
    ReadOnlyStoreError,
    StorageFullError,
    StoreError,
)

ROOT = Path(__file__).parents[3]


@pytest.fixture(params=["folder", "memory", pytest.param("s3", marks=pytest.mark.s3)])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """Return an empty storage of each kind."""
    if request.param == "folder":
        return FolderStorage(tmp_path / "store")
    if request.param == "memory":
        return ObjectStorage(MemoryStore(), "memory://test")
    endpoint = request.getfixturevalue("s3_endpoint")
    return ObjectStorage.from_url(f"s3://{BUCKET}/{tmp_path.name}/deep", **options(endpoint))


class TestContract:
    """The promises of `spikestore.store.storage.Storage`."""

    def test_it_is_one(self, storage: Storage) -> None:
        """It has all operations of the protocol."""
        assert isinstance(storage, Storage)
        assert storage.url

    @pytest.mark.parametrize("data", [b"", b"\0", bytes(range(256)) * 4096], ids=["empty", "zero", "1 MiB"])
    def test_put_and_get(self, storage: Storage, data: bytes) -> None:
        """The same bytes are returned, byte for byte."""
        assert storage.put_if_absent("a/b/c.json", data) is True
        assert storage.get("a/b/c.json") == data
        assert type(storage.get("a/b/c.json")) is bytes

    @pytest.mark.parametrize(
        ("start", "stop"), [(0, 10), (3, 7), (9, 10), (4, 4), (7, 99), (10, 12), (50, 60)]
    )
    def test_get_range(self, storage: Storage, start: int, stop: int) -> None:
        """The bytes between two positions are returned, up to the end of the object."""
        storage.put_if_absent("a/b", bytes(range(10)))
        found = storage.get_range("a/b", start, stop)
        assert found == bytes(range(10))[start:stop]
        assert type(found) is bytes

    def test_range_of_nothing(self, storage: Storage) -> None:
        """A range of a missing object is a MissingObjectError."""
        with pytest.raises(MissingObjectError, match="a/c is not in the store"):
            storage.get_range("a/c", 0, 5)

    def test_put_does_not_replace(self, storage: Storage) -> None:
        """The second put of a path is an error and changes nothing."""
        assert storage.put_if_absent("a/b", b"first") is True
        assert storage.put_if_absent("a/b", b"second, longer") is False
        assert storage.put_if_absent("a/b", b"first") is False
        assert storage.get("a/b") == b"first"

    def test_replace(self, storage: Storage) -> None:
        """Replacing is one step: a reader gets the old bytes or the new ones."""
        old, new = b"o" * 100_000, b"n" * 50_000
        storage.put_if_absent("a/b", old)
        seen: list[bytes] = []
        over = threading.Event()

        def read() -> None:
            while not over.is_set():
                seen.append(storage.get("a/b"))

        with ThreadPoolExecutor(1) as pool:
            reader = pool.submit(read)
            for _ in range(5):
                storage.replace("a/b", new)
                storage.replace("a/b", old)
            storage.replace("a/b", new)
            over.set()
            reader.result(60)
        assert {*seen} <= {old, new}
        assert storage.get("a/b") == new
        assert [one.path for one in storage.list("a")] == ["a/b"]

    def test_missing(self, storage: Storage) -> None:
        """A missing object is a MissingObjectError that names it and the store, in a new store as in a filled one."""
        for _ in range(2):
            with pytest.raises(MissingObjectError, match=r"a/b\.json is not in the store") as caught:
                storage.get("a/b.json")
            assert storage.url in str(caught.value)
            assert caught.value.details["path"] == "a/b.json"
            assert isinstance(caught.value, FileNotFoundError)
            storage.put_if_absent("a/c", b"")

    def test_list(self, storage: Storage) -> None:
        """A listing is of a folder at any depth, sorted by path as text, with sizes and times."""
        paths = ["a/b.json", "a/b/2", "a/b/10", "a/b-c", "a/b/c/d", "ab/x", "a/B", "z"]
        for path in paths:
            storage.put_if_absent(path, path.encode())
        found = [*storage.list("a")]
        assert [one.path for one in found] == sorted(path for path in paths if path.startswith("a/"))
        assert all(one.size == len(one.path) and isinstance(one, StoredObject) for one in found)
        assert all(abs(datetime.now(UTC) - one.modified) < timedelta(minutes=5) for one in found)
        assert [one.path for one in storage.list("a/b")] == ["a/b/10", "a/b/2", "a/b/c/d"]
        assert [*storage.list("nothing/here")] == []

    def test_folders(self, storage: Storage) -> None:
        """The folders directly below are listed, sorted, without objects; a missing folder has none."""
        for path in ("refs/demo/1", "refs/demo-b/1", "refs/b/c/d", "refs/object", "other/x"):
            storage.put_if_absent(path, b"")
        assert storage.folders("refs") == ["b", "demo", "demo-b"]
        assert storage.folders("refs/demo") == []
        assert storage.folders("nothing") == []

    def test_delete(self, storage: Storage) -> None:
        """A deleted object is gone and can be put again; deleting a missing one is no error."""
        storage.put_if_absent("a/b", b"first")
        storage.delete("a/b")
        storage.delete("a/b")
        storage.delete("never/was")
        assert [*storage.list("a")] == []
        assert storage.put_if_absent("a/b", b"second") is True
        assert storage.get("a/b") == b"second"

    @pytest.mark.parametrize(
        "path", ["../x", "a/../../x", "/etc/passwd", "a//b", "a/./b", "", "a/", "a\\b", "a\0b"]
    )
    def test_no_path_leaves_the_store(self, storage: Storage, path: str) -> None:
        """Every operation rejects a path that could lead out of the store, and names it."""
        for verb in (storage.get, storage.delete, storage.folders, storage.zarr_store):
            with pytest.raises(StoreError, match="is not a valid path in a store"):
                verb(path)
        with pytest.raises(StoreError, match="is not a valid path in a store"):
            storage.put_if_absent(path, b"")
        with pytest.raises(StoreError, match="is not a valid path in a store"):
            next(iter(storage.list(path)))

    def test_zarr_store(self, storage: Storage) -> None:
        """Zarr reads an array below a prefix, and can't write there."""
        memory: dict[str, Any] = {}
        zarr.create_array(memory, shape=(3,), dtype="int8", fill_value=7)
        storage.put_if_absent("deep/down/array/zarr.json", memory["zarr.json"].to_bytes())
        group = storage.zarr_store("deep/down")
        array = zarr.open_array(group / "array", mode="r")
        assert np.asarray(array[:]).tolist() == [7, 7, 7]
        assert group.store.read_only

    def test_free_bytes(self, storage: Storage) -> None:
        """The result is a number, or None, also before anything was written."""
        free = storage.free_bytes()
        assert free is None or free > 0

    def test_racing_threads(self, storage: Storage) -> None:
        """If eight threads put one path at the same time, exactly one wins, and its bytes are complete."""
        start = threading.Barrier(8)

        def put(number: int) -> bool:
            start.wait(60)
            return storage.put_if_absent("a/b/c", bytes([number]) * 100_000)

        with ThreadPoolExecutor(8) as pool:
            won = [*pool.map(put, range(8))]
        assert sorted(won) == [False] * 7 + [True]
        assert storage.get("a/b/c") == bytes([won.index(True)]) * 100_000
        assert [one.path for one in storage.list("a")] == ["a/b/c"]

    def test_a_feature_set(self, storage: Storage) -> None:
        """A whole set is built, named, found and read."""
        small = small_set(70)
        store = Store(storage)
        store.point("small", {"train": small.build(storage)})
        features = Store(storage)["small:train"]
        assert same(features.read(), small.truth)
        assert [one.digest for one in store.feature_sets()] == [features.digest]


class TestFolder:
    """Properties of folders only: other processes, full disks, permissions, files in the way."""

    def test_racing_processes(self, tmp_path: Path) -> None:
        """Of eight processes exactly one wins each of 50 paths, and no incomplete file is left."""
        # Forked from a process without threads; in this process, obstore may have started some.
        won = self.in_another_process(
            tmp_path,
            "import os\n"
            "read, write = os.pipe()\n"
            "for number in range(8):\n"
            "    if os.fork() == 0:\n"
            "        os.close(write)\n"
            "        os.read(read, 1)  # ends when the parent closes its end: all start at once\n"
            "        for name in range(50):\n"
            "            if storage.put_if_absent(f'a/{name}', bytes([number]) * 10_000):\n"
            "                os.write(1, f'{name} {number}\\n'.encode())\n"
            "        os._exit(0)\n"
            "os.close(write)\n"
            "assert [os.wait()[1] for _ in range(8)] == [0] * 8\n",
        )
        winners = [tuple(map(int, line.split())) for line in won.splitlines()]
        assert sorted(name for name, _ in winners) == [*range(50)]
        storage = FolderStorage(tmp_path)
        assert all(storage.get(f"a/{name}") == bytes([number]) * 10_000 for name, number in winners)
        assert files_of(tmp_path) == sorted(f"a/{name}" for name in range(50))

    def test_reading_makes_nothing(self, tmp_path: Path) -> None:
        """A store that does not exist is an empty one, and reading does not create it."""
        storage = FolderStorage(tmp_path / "nowhere" / "store")
        assert [*Store(storage).feature_sets()] == []
        assert Store(storage).names() == []
        assert (storage.free_bytes() or 0) > 0
        assert [*tmp_path.iterdir()] == []

    def test_no_file_is_left(self, tmp_path: Path) -> None:
        """No temporary file is left after a put, whichever process won."""
        storage = FolderStorage(tmp_path)
        storage.put_if_absent("a/b", b"1")
        storage.put_if_absent("a/b", b"2")
        assert files_of(tmp_path) == ["a/b"]

    def test_a_file_as_root(self, tmp_path: Path) -> None:
        """A store that is a file is an error for every operation, never an empty store."""
        (tmp_path / "file").write_bytes(b"")
        storage = FolderStorage(tmp_path / "file")
        for verb in (storage.get, storage.folders, storage.delete, lambda path: [*storage.list(path)]):
            with pytest.raises(StoreError, match="is a file, but a store must be a folder") as caught:
                verb("features")
            assert not isinstance(caught.value, MissingObjectError)
        with pytest.raises(StoreError, match="is a file, but a store must be a folder"):
            storage.put_if_absent("a", b"")

    def test_a_file_in_the_way(self, tmp_path: Path) -> None:
        """A file where a folder belongs is a clear error."""
        storage = FolderStorage(tmp_path)
        storage.put_if_absent("features", b"")
        why = "features in .* is not a regular folder: it is a file instead of a folder; move it away"
        with pytest.raises(DamagedError, match=why):
            storage.put_if_absent("features/a/b", b"")
        with pytest.raises(DamagedError, match=why):
            storage.get("features/a/b")
        for look in (storage.folders, lambda prefix: [*storage.list(prefix)]):
            with pytest.raises(DamagedError, match=why):
                look("features")

    def test_limit_of_file_sizes(self, tmp_path: Path) -> None:
        """Without room for an object: a StorageFullError that names the limit, no object at its path, no incomplete file."""
        done = self.in_another_process(
            tmp_path,
            "import resource, signal\n"
            "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
            "storage.put_if_absent('a/small', b'x' * 1000)\n"
            "storage.put_if_absent('a/large', b'x' * 1001)\n",
        )
        assert done.startswith(
            f"StorageFullError: a/large in {tmp_path} is larger than the largest file that is allowed: raise the limit"
        )
        assert files_of(tmp_path) == ["a/small"]
        assert FolderStorage(tmp_path).put_if_absent("a/large", b"x" * 1001)

    def test_full_file_system(self, tmp_path: Path) -> None:
        """The same as `test_limit_of_file_sizes`, on a file system that is really full, if this machine can mount one."""
        disk = tmp_path / "disk"
        disk.mkdir()
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=256k", "spikestore-test", str(disk)],  # noqa: S607
            capture_output=True,
        )
        if mounted.returncode:
            pytest.skip("may not mount here")
        try:
            storage = FolderStorage(disk)
            storage.put_if_absent("a/small", b"x" * 1000)
            with pytest.raises(StorageFullError, match="no space left for a/large"):
                storage.put_if_absent("a/large", b"x" * 1_000_000)
            assert files_of(disk) == ["a/small"]
        finally:
            subprocess.run(["umount", str(disk)], check=True)  # noqa: S607

    def test_read_only(self) -> None:
        """Without the permission to write, puts and deletions are a ReadOnlyStoreError, and reading works."""
        become_nobody = "import os\nif os.getuid() == 0: os.setuid(65534)\n"
        with tempfile.TemporaryDirectory() as folder:  # pytest's own folders are closed to other users
            root = Path(folder)
            storage = FolderStorage(root)
            storage.put_if_absent("a/b", b"data")
            for place in (*root.rglob("*"), root):
                place.chmod(0o555 if place.is_dir() else 0o444)
            for action in ("put_if_absent('a/c', b'')", "put_if_absent('new/c', b'')", "delete('a/b')"):
                code = f"{become_nobody}assert storage.get('a/b') == b'data'\nstorage.{action}\n"
                found = self.in_another_process(root, code)
                assert found == (
                    f"ReadOnlyStoreError: cannot write to the store {root} (Permission denied): get write permission, "
                    "or use another store"
                )
            assert storage.get("a/b") == b"data"
            for place in (root, *root.rglob("*")):
                place.chmod(0o755)

    @staticmethod
    def in_another_process(root: Path, code: str) -> str:
        """Run code on a storage in another process; return the error that it raises."""
        script = (
            "from spikestore.store.storage import FolderStorage\n"
            "from spikestore.store_schemas.errors import StoreError\n"
            "import zarr.storage, encodings.idna\n"
            f"storage = FolderStorage({str(root)!r})\n"
            "try:\n"
            + "".join(f"    {line}\n" for line in code.splitlines())
            + "except StoreError as error:\n"
            "    print(f'{type(error).__name__}: {error}')\n"
        )
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])}
        command = [sys.executable, "-c", script]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


@pytest.mark.s3
class TestS3:
    """Properties of buckets only: credentials."""

    def test_without_the_right_to_write(self, s3_endpoint: str) -> None:
        """Puts are a ReadOnlyStoreError that contains no secret."""
        settings = {**options(s3_endpoint), "access_key_id": "reader", "secret_access_key": "reader"}
        storage = ObjectStorage.from_url(f"s3://{BUCKET}/x", **settings)
        for verb in (lambda: storage.put_if_absent("a", b""), lambda: storage.delete("a")):
            with pytest.raises(ReadOnlyStoreError, match=f"^cannot write to the store s3://{BUCKET}/x: "):
                verb()

    def test_with_wrong_credentials(self, s3_endpoint: str) -> None:
        """The error contains neither key nor secret."""
        settings = {**options(s3_endpoint), "access_key_id": "AKIAWRONG", "secret_access_key": "wrong-secret"}
        storage = ObjectStorage.from_url(f"s3://{BUCKET}/x", **settings)
        for verb in (lambda: storage.get("a"), lambda: [*storage.list("a")], lambda: storage.folders("a")):
            with pytest.raises(StoreError, match=r"cannot read the store .*: permission denied") as caught:
                verb()
            assert "AKIAWRONG" not in str(caught.value)
            assert "wrong-secret" not in str(caught.value)
            assert not isinstance(caught.value, MissingObjectError)
