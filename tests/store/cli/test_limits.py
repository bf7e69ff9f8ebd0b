"""Errors at a limit of the machine name the limit and what to do."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from spikestore.store.cli.limits import limit_reached


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError("Unable to allocate 8 GiB"), "not enough memory: "),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "not enough memory: "),
        (ImportError("x.so: failed to map segment from shared object"), "not enough memory: "),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate"),
            "lower batch_size",
        ),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB."), "lower batch_size"),
        (
            RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"),
            "lower batch_size",
        ),
        (RuntimeError("can't start new thread"), "ulimit -u"),
        (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), "ulimit -u"),
        (OSError(errno.EMFILE, "Too many open files", "a.h5"), "a.h5: Too many open files: raise the limit"),
        (OSError(errno.EIO, "Input/output error"), "Input/output error: the disk or"),
        (
            OSError(errno.ENOSPC, "No space left on device", "f"),
            "f: No space left on device: free some space",
        ),
    ],
)
def test_each_limit_has_a_remedy(error: Exception, words: str) -> None:
    assert words in str(limit_reached(error))


def test_evaluate_cannot_lower_the_batch_size() -> None:
    """The checkpoint fixes it, so the advice names only what `evaluate` has an option for."""
    error = RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB.")
    assert limit_reached(error, "evaluate") == (
        "not enough memory for a batch or the network: use another --device, or free some memory (the checkpoint determines the sizes of the batch and the network)"
    )
    assert "lower batch_size under [data]" in str(limit_reached(error, "train"))


@pytest.mark.parametrize(
    "error",
    [
        ZeroDivisionError(),
        ImportError("no module named x"),
        FileNotFoundError(2, "No such file"),
        OSError("x"),
        RuntimeError("x"),
    ],
)
def test_other_errors_are_none_of_these(error: Exception) -> None:
    assert limit_reached(error) is None


def test_a_working_directory_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(FileNotFoundError) as caught:
        Path.cwd()
    assert limit_reached(caught.value) == "the working directory was deleted: change to another one"
