"""Function that reads iniVation's ``.aedat4`` files with the library aedat, in a separate process.

Some damaged files end the process that decodes them. Such a file is reported, and the next file is decoded in a new process.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import subprocess
import sys
import tempfile
import threading
import weakref
from pathlib import Path

from spikestore.pipeline.readers.formats.format import RawEvents, columns_of
from spikestore.pipeline.readers.formats.npy import read_array
from spikestore.store_schemas.errors import MissingExtraError

_PROGRAM = Path(__file__).with_name("aedat4_process.py")


class _Decoder:
    """A process that decodes files; see `spikestore.pipeline.readers.formats.aedat.aedat4_process`."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-P", str(_PROGRAM)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        self.close = weakref.finalize(self, _end, self._process)  # also when Python ends

    def decode(self, path: Path) -> RawEvents:
        """Return the events of a file. If the file has a fault, raise ValueError with a description; if this decoder's process ended, raise `_EndedError`."""
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise _EndedError
        try:
            stdin.write(os.fsencode(path).hex().encode() + b"\n")
            stdin.flush()
            kind, _, rest = stdout.readline().decode("utf-8", "replace").strip().partition(" ")
            data = stdout.read(int(rest)) if kind == "events" else b""
        except OSError:
            raise _EndedError from None
        if kind == "error":
            raise ValueError(f"the file is not in the format AEDAT 4, or is damaged ({rest})")
        if kind != "events" or len(data) != int(rest):
            raise _EndedError
        return columns_of(read_array(data))


class _EndedError(Exception):
    """The process that decodes files ended."""


def _end(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
    process.kill()
    process.wait()


_of_thread = threading.local()


def read_aedat4(content: bytes) -> RawEvents:
    """Return the events of the first stream of events in a file, as Tonic does: t in µs as uint64, x, y as uint16, p as bool.

    Raises
    ------
    MissingExtraError
        The library aedat is not installed.
    ValueError
        The file is not in this format, is damaged, or has no stream of events.
    """
    if importlib.util.find_spec("aedat") is None:
        raise MissingExtraError(".aedat4 files need the library aedat: pip install 'spikestore[formats]'")
    if not content:
        raise ValueError("the file is empty")
    if not hasattr(_of_thread, "decoder"):
        _of_thread.decoder = _Decoder()
    decoder: _Decoder = _of_thread.decoder
    with tempfile.TemporaryDirectory(prefix="spikestore-") as folder:  # the library reads paths only
        path = Path(folder) / "recording.aedat4"
        path.write_bytes(content)
        try:
            return decoder.decode(path)
        except _EndedError:
            del _of_thread.decoder
            decoder.close()
            raise ValueError("the file is damaged: the library aedat ended while it decoded it") from None
