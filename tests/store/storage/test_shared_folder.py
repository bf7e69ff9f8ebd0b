"""A folder store that several Unix users share: all can build, read, resume and repair, regardless of the umask."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.store.small_sets import same, small_set

from spikestore.store import Store, verify
from spikestore.store.cli.main import main
from spikestore.store.storage import FolderStorage
from spikestore.store.storage.shared_folder import make_shared
from spikestore.store_schemas.errors import UsageError

ROOT = Path(__file__).parents[3]
TEAM, ADA, BOB, EVE = 23000, 23001, 23002, 23003
SMALL = small_set(70, extras=(), silent=range(64, 70), skipped=(3,))

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root may become other users")

# The checkout, and with it the virtual environment, may be in a home that other users can't enter. So only the standard
# library can be imported from here on, and the test works wherever the checkout is.
CLOSED = """
import sys
class Closed:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in sys.stdlib_module_names:
            raise ImportError(f"{name} is imported by a user who may not enter the checkout")
sys.meta_path.insert(0, Closed())
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a folder that all users can reach; pytest's own are closed to others."""
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        yield Path(place)


def become(user: int, root: Path, code: str, *, umask: int = 0o077, member: bool = True) -> str:
    """Run code on a store as another user, with all modules imported before; return the error that it raises."""
    script = (
        "import os\n"
        "from tests.store.small_sets import memory_storage, small_set\n"
        "from spikestore.store import Build, Store, refs, verify\n"
        "from spikestore.store.upkeep.garbage import collect, find_garbage\n"
        "from spikestore.store_schemas.errors import StoreError\n"
        "from spikestore.store.upkeep.repair import repair\n"
        "from spikestore.store.storage import FolderStorage\n"
        "import spikestore.store.storage.zarr_folder, encodings.idna\n"
        "SMALL = small_set(70, extras=(), silent=range(64, 70), skipped=(3,))\n"
        "from spikestore.store.storage.shared_folder import make_shared\n"
        "verify(SMALL.build(memory_storage()), depth='deep')\n"
        f"{CLOSED}"
        f"os.setgroups([{TEAM}] if {member} else [])\n"
        f"os.setgid({user}); os.setuid({user}); os.umask({umask})\n"
        f"storage = FolderStorage({str(root)!r})\n"
        "try:\n" + "".join(f"    {line}\n" for line in code.splitlines()) + "except StoreError as error:\n"
        "    print(f'{type(error).__name__}: {error}')\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def modes(root: Path) -> set[tuple[str, str, int]]:
    """Return kind, permissions and group of all files and folders of a store."""
    found = set()
    for place in root.rglob("*"):
        status = place.stat()
        kind = "folder" if place.is_dir() else "file"
        found.add((kind, f"{stat.S_IMODE(status.st_mode):o}", status.st_gid))
    return found


@pytest.mark.slow
def test_two_users_build_one_set(folder: Path) -> None:
    """The first user begins with a closed umask; the second resumes, commits, names, runs gc and repairs; a third may only read."""
    root = folder / "store"
    storage = FolderStorage(root)
    assert make_shared(storage, group=str(TEAM)) == []
    begin = "SMALL.put(Build.join_or_start(storage, SMALL.address, SMALL.plan), 0)"
    assert become(ADA, root, begin) == ""
    assert {os.stat(path).st_uid for path in root.rglob("*")} == {0, ADA}  # noqa: PTH116
    finish = (
        "Store(storage).point('demo', {'train': SMALL.build(storage)})\n"
        "storage.delete(f'{Store(storage)[\"demo\"].data_path}/nnz/zarr.json')\n"  # of user ADA
        "assert repair(Store(storage)['demo']).left == ()\n"
        "refs.update(storage, 'ada', {'train': Store(storage)['demo'].pin})\n"
    )
    assert become(BOB, root, finish, umask=0o027) == ""
    assert become(ADA, root, "Store(storage).forget('ada')") == ""
    assert modes(root) == {("folder", "2775", TEAM), ("file", "644", TEAM)}
    features = Store(storage)["demo"]
    assert same(features.read(), SMALL.truth)
    read = "assert verify(Store(storage)['demo'], depth='deep') == []\n"
    assert become(EVE, root, read + "storage.put_if_absent('refs/eve/00000001.json', b'')", member=False) == (
        f"ReadOnlyStoreError: cannot write to the store {root} (Permission denied): get write permission, "
        "or use another store"
    )
    assert verify(features, depth="deep") == []


@pytest.mark.slow
def test_a_private_group(folder: Path) -> None:
    """Users outside the group may not read, with any umask."""
    root = folder / "store"
    make_shared(FolderStorage(root), group=str(TEAM), private=True)
    assert become(ADA, root, "SMALL.build(storage)", umask=0) == ""
    assert modes(root) == {("folder", "2770", TEAM), ("file", "640", TEAM)}
    found = become(EVE, root, "SMALL.build(storage)", member=False)
    assert found.startswith("ReadOnlyStoreError: ") or "Permission denied" in found


@pytest.mark.slow
def test_an_administrators_chmod_is_enough(folder: Path) -> None:
    """Permissions of the folder are the setting; without them the umask decides, as usual."""
    shared, plain = folder / "shared", folder / "plain"
    for place, mode in ((shared, 0o2775), (plain, 0o777)):
        place.mkdir()
        os.chown(place, 0, TEAM)
        place.chmod(mode)
        assert become(ADA, place, "SMALL.build(storage)") == ""
    assert modes(shared) == {("folder", "2775", TEAM), ("file", "644", TEAM)}
    assert modes(plain) == {("folder", "700", ADA), ("file", "600", ADA)}
    assert "Permission denied" in become(BOB, plain, "SMALL.build(storage)")


def test_a_store_that_becomes_shared(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`init --shared` changes the user's own files and folders, and reports others; an unknown group is an error."""
    root = folder / "store"
    root.mkdir()
    os.chown(root, ADA, TEAM)
    root.chmod(0o777)
    assert become(ADA, root, "SMALL.build(storage)") == ""
    assert main(["init", str(root), "--shared", "group", "--group", str(TEAM)]) == 0
    assert "its group shares" in capsys.readouterr().err
    assert modes(root) == {("folder", "2775", TEAM), ("file", "644", TEAM)}
    with pytest.raises(UsageError, match="no group 'no-such-group'"):
        make_shared(FolderStorage(root), group="no-such-group")
    for number in (2**32 - 1, 2**32, 10**30):
        with pytest.raises(UsageError, match=f"no group '{number}'"):
            make_shared(FolderStorage(root), group=str(number))
    assert "cannot share" in become(BOB, root, "make_shared(storage)")
    stray = root / "features" / "stray"
    stray.touch(mode=0o644)
    stray.chmod(0o644)
    os.chown(stray, EVE, EVE)
    assert become(ADA, root, "print(make_shared(storage))") == "[]"
    assert "stray" in become(ADA, root, f"print(make_shared(storage, group='{TEAM}'))")
    assert main(["init", str(folder / "new"), "--private"]) == 2
    assert main(["init", "s3://bucket/x", "--shared", "group"]) == 2
    assert main(["init", str(folder / "new")]) == 0
    assert (folder / "new").is_dir()
