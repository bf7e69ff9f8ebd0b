"""Faults of the system are reported as such, and not as damage of the recordings."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import h5py
import pytest
from tests.pipeline.cochlea_files import draw, write_file

from spikestore.pipeline.readers.cochlea_files import heap_kernels
from spikestore.pipeline.readers.cochlea_files.cochlea import CochleaReader
from spikestore.pipeline.readers.cochlea_files.hdf5 import fault_of_system, open_hdf5
from spikestore.store_schemas.errors import LayoutError, SourceError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_file(tmp_path / "ssc_train.h5", draw(4))


READ = """
import sys
from pathlib import Path
from spikestore.pipeline.readers.cochlea_files.hdf5 import open_hdf5
from spikestore.store_schemas.errors import SourceError
try:
    print(len(open_hdf5(Path(sys.argv[1]), expected="", remedy="")["labels"]))
except SourceError as error:
    print(error)
"""


def test_a_file_that_another_process_writes_to_and_the_advice_for_it(path: Path) -> None:
    def read(**environment: str) -> str:
        return subprocess.run(
            [sys.executable, "-c", READ, str(path)],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    with h5py.File(path, "a"):
        said = read()
        assert said.startswith(
            f"{path} is locked: another process, such as a notebook, has it open for writing"
        )
        assert "download" not in said
        variable, value = said.split()[-1].split("=")
        assert read(**{variable: value}) == "4\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "(unable to lock file, errno = 37, error message = 'No locks available')",
            "HDF5_USE_FILE_LOCKING=FALSE",
        ),
        ("(file read failed: time = x, errno = 5, error message = 'Input/output error')", "check the disk"),
        ("(unable to open file: errno = 24, error message = 'Too many open files')", "ulimit -n"),
        ("(unable to open file: errno = 13, error message = 'Permission denied')", "check its permissions"),
    ],
)
def test_faults_of_the_system_have_remedies_of_their_own(text: str, words: str) -> None:
    fault = fault_of_system(Path("a.h5"), OSError(f"Can't read data {text}"))
    assert type(fault) is SourceError
    assert str(fault).startswith("a.h5 can't be ")
    assert words in str(fault)


@pytest.mark.parametrize("error", [OSError("addr overflow"), KeyError("x"), OSError("(errno = 22, lseek)")])
def test_wrong_bytes_are_none_of_these(error: Exception) -> None:
    assert fault_of_system(Path("a.h5"), error) is None


def test_a_file_without_permission(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(h5py, "File", refuse)
    with pytest.raises(
        SourceError, match=r"can't be read \(Permission denied\): check its permissions$"
    ) as caught:
        open_hdf5(path, expected="", remedy="download it again")
    assert not isinstance(caught.value, LayoutError)


def test_an_error_of_the_compiler_is_no_damage(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error such as a full disk under the compiler's cache is not reported as damage."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(heap_kernels, "copy_objects", full)
    with CochleaReader(path) as reader, pytest.raises(OSError, match="No space left") as caught:
        reader.read_block(0, 4)
    assert not isinstance(caught.value, SourceError)


def test_a_disk_that_fails_while_reading_is_no_damage(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "preadv", broken)
    with CochleaReader(path) as reader, pytest.raises(SourceError, match="check the disk") as caught:
        reader.read_block(0, 4)
    assert not isinstance(caught.value, LayoutError)


def test_kernels_are_compiled_for_the_types_of_their_arguments(path: Path) -> None:
    """Otherwise compilation in advance would be useless: the measured call would compile again."""
    script = (
        "import sys\nfrom pathlib import Path\n"
        "from spikestore.pipeline.readers import event_block\n"
        "from spikestore.pipeline.readers.cochlea_files import heap_kernels\n"
        "from spikestore.pipeline.readers.cochlea_files.cochlea import CochleaReader\n"
        "event_block.FEW_EVENTS = 0\n"
        "with CochleaReader(Path(sys.argv[1])) as reader:\n"
        "    reader.read_block(0, 4)\n"
        "print(len(heap_kernels.copy_objects.signatures))\n"
    )
    # A process of its own: other tests call the kernels with arrays of other kinds.
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "1\n"
