"""Recordings of every format with random damage, and the allowed results of reading them.

A case is a number: it chooses a file of one format and changes it, the same in every run with the same seed. As a script it
reads many cases, in a process of its own, because a damaged file may crash a library, and with it the process:
``python -m tests.faults.fuzzed_recordings FORMAT SEED FIRST LAST FOLDER``.
"""

from __future__ import annotations

import faulthandler
import io
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tests.pipeline.cochlea_files import draw, write_file
from tests.pipeline.event_files import OVERFLOW, draw_events, pack

from spikestore.pipeline.readers.cochlea_files.cochlea import CochleaReader
from spikestore.pipeline.readers.event_block import EventBlock
from spikestore.pipeline.readers.event_files.dvsgesture import DVSGestureReader
from spikestore.pipeline.readers.event_files.nmnist import NMNISTReader
from spikestore.pipeline.readers.reader import Reader
from spikestore.pipeline.readers.recording import Recording
from spikestore.pipeline.transforms.choose import block_chain
from spikestore.store_schemas import SourceFile, ToFrame, Transform
from spikestore.store_schemas.errors import RecordingError, SourceError

SECONDS = 120
"""Seconds for one case, with compilation on a busy machine; a reader that takes longer counts as hanging."""

_INTERESTING = (
    0,
    1,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0x8000,
    0xFFFF,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**63 - 1,
    2**64 - 1,
)
_TEXTS = (b"'<f8'", b"'|O'", b"'<U9'", b"'V4'", b"()", b"(-1, 4)", b"(9" + b"9" * 30 + b", 4)", b"None", b"True", b"{" * 200,
          b"'" , b"\\", b"\xff", b"\0", b"lambda: 0", b"1e999", b"0x", b"[('a', '<f8')]", b"# ", b"\n")  # fmt: skip


def mutate(data: bytes, rng: np.random.Generator, *, shift: bool) -> bytes:
    """Change bytes in one to four places; if `shift`, also cut, repeat and insert, which moves all that follows."""
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 5)) if shift else 1 + (rng.random() < 0.2)):
        size = len(changed)
        place = int(rng.integers(0, size)) if size else 0
        if rng.random() < 0.5 * shift:
            place = min(place, int(rng.integers(0, 200)))  # headers are at the beginning
        kind = int(rng.integers(0, 8)) if shift or rng.random() < 0.1 else int(rng.integers(0, 2))
        if kind == 0 and size:
            changed[place] ^= 1 << int(rng.integers(0, 8))
        elif kind == 1:
            width = int(rng.choice([1, 2, 4, 8]))
            number = int(rng.choice(len(_INTERESTING)))
            changed[place : place + width] = (_INTERESTING[number] % 2 ** (8 * width)).to_bytes(
                width, "little"
            )
        elif kind == 2:
            del changed[place:]
        elif kind == 3:
            del changed[place : place + int(rng.integers(1, 64))]
        elif kind == 4:
            changed[place:place] = changed[place : place + int(rng.integers(1, 64))]
        elif kind == 5:
            changed[place : place + int(rng.integers(1, 32))] = rng.bytes(int(rng.integers(1, 32)))
        elif kind == 6:
            text = _TEXTS[int(rng.integers(0, len(_TEXTS)))]
            changed[place : place + (len(text) if rng.random() < 0.5 else 0)] = text
        else:
            changed += rng.bytes(int(rng.integers(1, 64)))
    return bytes(changed)


@cache
def _cochlea_file(number: int, folder: Path) -> bytes:
    kinds: list[dict[str, Any]] = [
        {},
        {"chunks": (4,)},
        {"chunks": (4,), "compression": "gzip"},
        {"times_type": np.float32},
    ]
    folder.mkdir(parents=True, exist_ok=True)
    return write_file(folder / f"whole-{number}.h5", draw(9), **kinds[number]).read_bytes()


@cache
def _gesture_file(number: int) -> bytes:
    events: npt.NDArray[Any] = draw_events(np.random.default_rng(1), 30, 128, 90)
    file = io.BytesIO()
    np.save(file, np.asfortranarray(events.astype([np.int64, np.uint8, np.float32, np.float64][number])))
    return file.getvalue()


@cache
def _digit_file(number: int) -> bytes:
    events = draw_events(np.random.default_rng(2), 30, 34, 8000)
    return pack(events if number else np.concatenate([events, [OVERFLOW], events]))


def cochlea(content: bytes, folder: Path) -> Reader:
    """Open a file of SSC."""
    path = folder / "ssc_train.h5"
    path.write_bytes(content)
    return CochleaReader(path)


def gesture(content: bytes, folder: Path) -> Reader:
    """Open a recording of DVSGesture between two whole ones."""
    names = [f"ibmGestureTrain/user01_lab/{number}.npy" for number in range(3)]
    return DVSGestureReader(folder, _written(folder, names, [_gesture_file(0), content, _gesture_file(1)]))


def digit(content: bytes, folder: Path) -> Reader:
    """Open a recording of N-MNIST between two whole ones."""
    names = [f"Train/5/{number}.bin" for number in range(3)]
    return NMNISTReader(folder, _written(folder, names, [_digit_file(0), content, _digit_file(1)]))


def _written(folder: Path, names: list[str], contents: list[bytes]) -> list[SourceFile]:
    files = []
    for name, content in zip(names, contents, strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
        files.append(SourceFile(name=name, size=len(content), sha256="0" * 64))
    return files


FORMATS: dict[str, tuple[Callable[[bytes, Path], Reader], Callable[[int, Path], bytes], int]] = {
    "cochlea": (cochlea, _cochlea_file, 4),
    "gesture": (gesture, lambda number, folder: _gesture_file(number), 4),
    "digit": (digit, lambda number, folder: _digit_file(number), 2),
}
"""By format: a function that opens a file, one that returns an intact file, and the number of different intact files."""


def content_of(name: str, seed: int, case: int, folder: Path) -> bytes:
    """Return the file of a case."""
    rng = np.random.default_rng([seed, case])
    _, make, count = FORMATS[name]
    return mutate(make(int(rng.integers(0, count)), folder), rng, shift=name != "cochlea")


def read_case(name: str, content: bytes, folder: Path) -> str:
    """Read a file in every way; return how that ended.

    Raises
    ------
    Exception
        A user would take the error for a fault of spikestore.
    """
    try:
        with FORMATS[name][0](content, folder) as reader:
            counts = reader.n_events()
            assert len(counts) == len(reader)
            recordings = reader.read(0, len(reader))
            block = reader.read_block(0, len(reader))
            _compare(recordings, block)
            _transform(reader, block)
    except RecordingError:
        raise  # a reader must return this error in the place of the recording
    except SourceError as error:
        return "refused" if str(folder) in str(error) else f"FAILED: names no file: {error}"
    if name != "cochlea":
        assert isinstance(recordings[0], Recording), "a whole neighbour"
        assert isinstance(recordings[2], Recording), "a whole neighbour"
    for row, one in enumerate(recordings):
        if isinstance(one, RecordingError):
            assert one.message.startswith(reader.name_of(row))
    return "some damaged" if block.errors else "read"


def _compare(recordings: list[Recording | RecordingError], block: EventBlock) -> None:
    assert len(recordings) == len(block)
    for row, one in enumerate(recordings):
        assert isinstance(one, RecordingError) == (row in block.errors)
        if isinstance(one, Recording):
            assert len(one.events) == block.offsets[row + 1] - block.offsets[row]


def _transform(reader: Any, block: EventBlock) -> None:
    transform = Transform(
        operations=(ToFrame(sensor_size=reader.sensor_size, time_window=1e5),), max_bins=1000
    )
    samples = block_chain(transform, "auto", has_y=reader.has_y)(block, name_of=reader.name_of, sort=True)
    assert int(samples.nnz.sum()) == len(samples.index)
    assert samples.errors.keys() >= block.errors.keys()


def main(name: str, seed: int, numbers: range, folder: Path) -> None:
    """Read cases and write how each ended; the last line of a process that dies names the case."""
    folder.mkdir(parents=True, exist_ok=True)
    read_case(name, FORMATS[name][1](0, folder), folder)  # this call compiles
    for case in numbers:
        sys.stdout.write(f"{case} ")
        sys.stdout.flush()
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        try:
            end = read_case(name, content_of(name, seed, case, folder), folder)
        except Exception as error:
            end = f"FAILED {type(error).__name__}: {error}"
        sys.stdout.write(f"{end}\n")
    faulthandler.cancel_dump_traceback_later()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), range(int(sys.argv[3]), int(sys.argv[4])), Path(sys.argv[5]))
