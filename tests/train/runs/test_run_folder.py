"""The folder of a run: only one process writes, and an unwritable folder is reported before any set is loaded."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.train.runs.test_loop import config, silent

from spikestore.store import Store
from spikestore.store.progress import Progress
from spikestore.store_schemas.errors import StorageFullError, StoreError, UsageError
from spikestore.train import load_network
from spikestore.train.data import loader
from spikestore.train.runs import loop
from spikestore.train.runs.checkpoint.checkpoint import Checkpoint, save_checkpoint
from spikestore.train.runs.run import run
from spikestore.train.runs.run_folder import LOCK, only_writer, refuse_unwritable

HOLD = """
import sys, time
from pathlib import Path
from spikestore.train.runs.run_folder import only_writer

with only_writer(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def not_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail if a feature set is loaded."""

    def loaded(*_: object) -> None:
        pytest.fail("was loaded")

    monkeypatch.setattr(loader, "pack", loaded)


@pytest.fixture
def held(tmp_path: Path) -> Any:
    """Return a process that has locked a folder."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


@pytest.mark.usefixtures("not_loaded")
def test_a_second_writer_is_refused(held: Any, store_folder: Path, tmp_path: Path) -> None:
    """The message names the process, its start time, and what to do, before anything is loaded. A killed process holds no lock."""
    with pytest.raises(UsageError) as caught:
        run(config(), Store(store_folder), tmp_path, device="cpu", progress=silent)
    text = str(caught.value)
    assert "\n" not in text
    assert f"{tmp_path} is being written by process {held.pid} of " in text
    assert f"on {socket.gethostname()}, since 20" in text
    assert "--folder" in text
    assert not (tmp_path / "last.pt").exists()
    held.send_signal(signal.SIGKILL)
    held.wait()
    with only_writer(tmp_path):
        pass


def test_in_one_process_too(tmp_path: Path) -> None:
    """Two runs of a notebook can't share a folder; it is free again when a run ends, also by an error."""
    with only_writer(tmp_path):  # noqa: SIM117
        with pytest.raises(UsageError, match="is being written by process"), only_writer(tmp_path):
            pass
    with pytest.raises(KeyError), only_writer(tmp_path):
        raise KeyError
    with only_writer(tmp_path):
        pass
    assert (tmp_path / LOCK).read_text() == ""


def test_where_there_are_no_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the file counts: processes of this machine are looked up, those of another are assumed to run."""

    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    writer = {
        "host": socket.gethostname(),
        "process": ended.pid,
        "user": "ann",
        "since": "2026-01-01 10:00:00",
    }
    (tmp_path / LOCK).write_text(json.dumps(writer))
    with only_writer(tmp_path):  # noqa: SIM117
        with (
            pytest.raises(UsageError, match=rf"process {os.getpid()} .* remove .*{LOCK}"),
            only_writer(tmp_path),
        ):
            pass
    (tmp_path / LOCK).write_text(json.dumps({**writer, "host": "elsewhere"}))
    with pytest.raises(UsageError, match="of ann on elsewhere, since 2026-01-01"), only_writer(tmp_path):
        pass
    for rubbish in ("{", "[1]", '{"process": "x"}', "\x00"):
        (tmp_path / LOCK).write_text(rubbish)
        if rubbish != '{"process": "x"}':
            with only_writer(tmp_path):
                pass


@pytest.mark.usefixtures("not_loaded")
@pytest.mark.parametrize("where", ["parent", "folder", "tensorboard", "nobody's"])
def test_unwritable_folders_are_reported_first(store_folder: Path, tmp_path: Path, where: str) -> None:
    """A file in the way of a folder, and a folder of another user (which root can write), are reported."""
    folder = tmp_path / "runs/a"
    if where == "parent":
        (tmp_path / "runs").write_text("")
    elif where == "folder":
        folder.parent.mkdir()
        folder.write_text("")
    elif where == "tensorboard":
        folder.mkdir(parents=True)
        (folder / "tensorboard").write_text("")
    else:
        folder = Path("/proc/spikestore")
    kind, text = (
        (UsageError, "is a file") if where in ("folder", "tensorboard") else (StoreError, "can't write to")
    )
    with pytest.raises(kind, match=f"{text}.*--folder") as caught:
        run(config(), Store(store_folder), folder, device="cpu", progress=silent)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.EACCES, ": change its permissions, or pass another --folder"),
        (errno.EROFS, " file system): pass another --folder"),
        (errno.ENOSPC, ": make space on the disk, or pass another --folder"),
    ],
)
def test_advice_fits_the_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, advice: str
) -> None:
    """On a read-only file system, the message does not advise to change permissions."""

    def refused(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "mkdir", refused)
    with pytest.raises(StoreError) as caught:
        refuse_unwritable(tmp_path / "run")
    assert str(caught.value).endswith(advice)


@pytest.mark.skipif(os.getuid() != 0, reason="only root may become another user")
def test_the_folder_of_another_user(tmp_path: Path) -> None:
    """In a shared folder, only the scalars may be unwritable, because another user began the run."""
    for path in (tmp_path, *tmp_path.parents):
        if "pytest-of-" in str(path):  # pytest's own folders are closed to other users
            path.chmod(0o755)
    (tmp_path / "shared/tensorboard").mkdir(parents=True)
    (tmp_path / "shared").chmod(0o777)
    source = "import sys, os; from pathlib import Path; from spikestore.train.runs.run_folder import refuse_unwritable as r\nos.setgid(65534); os.setuid(65534); r(Path(sys.argv[1]))"  # fmt: skip
    for folder in ("shared", "."):
        done = subprocess.run(
            [sys.executable, "-c", source, tmp_path / folder], capture_output=True, text=True, check=False
        )
        assert "StoreError: can't write to" in done.stderr
        assert ("/tensorboard (" in done.stderr) is (folder == "shared")
        assert "Permission denied" in done.stderr


def test_a_full_disk_is_reported_as_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The advice is to make space on the disk."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StorageFullError, match="make space on the disk"):
        refuse_unwritable(tmp_path)


def test_a_finished_run_needs_no_right_to_write(store_folder: Path, tmp_path: Path) -> None:
    """Its checkpoint is only read."""
    store, plan = Store(store_folder), config(epochs=1)
    first = run(plan, store, tmp_path, device="cpu", progress=silent)
    with only_writer(tmp_path):
        again = run(plan, store, tmp_path, device="cpu", progress=silent)
    assert (again.epochs, again.best) == ([], first.best)


def test_a_run_that_cannot_begin_leaves_no_folder(store_folder: Path, tmp_path: Path) -> None:
    """For example, after a mistake in the configuration."""
    plan = config(data={"name": "smaal"})
    with pytest.raises(LookupError, match="smaal"):
        run(plan, Store(store_folder), tmp_path / "run", device="cpu", progress=silent)
    assert list(tmp_path.iterdir()) == []


def test_a_new_run_drops_the_network_of_the_run_before(store_folder: Path, tmp_path: Path) -> None:
    """With --restart: from its first checkpoint on, the folder has no best.pt of other weights."""
    store = Store(store_folder)
    run(config(epochs=1), store, tmp_path, device="cpu", progress=silent)

    def stopping_at(batches: int) -> Progress:
        def progress(done: int, total: int, label: str) -> None:
            if label.startswith("epoch") and done >= batches * 16:
                raise KeyboardInterrupt

        return progress

    plan = config(seed=1, epochs=1, checkpoint_batches=2)
    with pytest.raises(KeyboardInterrupt):
        run(plan, store, tmp_path, device="cpu", restart=True, progress=stopping_at(1))
    assert load_network(tmp_path).config.seed == 0  # nothing of the new run is there yet
    with pytest.raises(KeyboardInterrupt):
        run(plan, store, tmp_path, device="cpu", restart=True, progress=stopping_at(3))
    assert load_network(tmp_path).config.seed == 1
    run(plan, store, tmp_path, device="cpu", progress=silent)
    assert {load_network(tmp_path / name).config.seed for name in ("best.pt", "last.pt")} == {1}


def test_a_new_run_that_ends_between_its_checkpoints_leaves_none_of_the_run_before(
    store_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With --restart, best.pt is written before last.pt; the same command then continued the former run beside the new best.pt."""
    store = Store(store_folder)
    run(config(epochs=1), store, tmp_path, device="cpu", progress=silent)

    def interrupted(path: Path, checkpoint: Checkpoint) -> None:
        if path.name == "last.pt":
            raise KeyboardInterrupt
        save_checkpoint(path, checkpoint)

    plan = config(seed=1, epochs=1)
    monkeypatch.setattr(loop, "save_checkpoint", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(plan, store, tmp_path, device="cpu", restart=True, progress=silent)
    monkeypatch.undo()
    assert load_network(tmp_path).config.seed == 1
    run(plan, store, tmp_path, device="cpu", progress=silent)
    assert {load_network(tmp_path / name).config.seed for name in ("best.pt", "last.pt")} == {1}


def test_a_lost_last_checkpoint_is_reported(
    store_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A run whose last.pt is missing starts from the beginning and says so; with --restart this is no surprise. The advice works."""
    store, last = Store(store_folder), tmp_path / "last.pt"
    run(config(epochs=1), store, tmp_path, progress=silent)
    assert "no last.pt" not in caplog.text
    last.unlink()
    run(config(epochs=1), store, tmp_path, restart=True, progress=silent)
    assert "no last.pt" not in caplog.text
    (tmp_path / "best.pt").replace(last)
    (tmp_path / "best.pt").write_bytes(last.read_bytes())
    assert [result.epoch for result in run(config(epochs=2), store, tmp_path, progress=silent).epochs] == [2]
    last.unlink()
    run(config(epochs=1), store, tmp_path, progress=silent)
    assert "has a best.pt but no last.pt, so the run starts from the beginning" in caplog.text
