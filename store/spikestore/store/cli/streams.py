"""Standard streams that may be closed, full or unable to write a character: the message is lost, never the work.

Python sets ``sys.stdout`` or ``sys.stderr`` to None where a shell closed it (``>&-``), raises where the disk behind
it is full, and again at the end of the process. Here

1. a closed descriptor 0, 1 or 2 is opened on the null device, so that no file of a store gets its number: C libraries
   write their messages to these numbers;
2. what can't be written is dropped, and :class:`LenientStream` remembers why;
3. a character that the stream's encoding lacks is written as an escape, so that a line names any file.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

__all__ = ["LenientStream", "lenient_streams"]


class LenientStream:
    """A text stream whose writes never fail.

    Parameters
    ----------
    stream : text stream or None
        Where the text goes; None stands for a stream that was closed before the process began.

    Attributes
    ----------
    lost : OSError or None
        Why text could not be written; None as long as all of it could.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._closed = stream is None
        # Closed with the object that holds it, at the end of the process.
        null = None if stream is not None else Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
        self._stream: Any = null or stream
        self.lost: OSError | None = None

    def write(self, text: str) -> int:
        """Write text, or drop it; return its length in either case. Raises TypeError for bytes, as other text streams do."""
        if not isinstance(text, str):
            raise TypeError(
                f"write() argument must be str, not {type(text).__name__}"
            )  # libraries try, to see what it is
        if self.lost is None and text:
            try:
                self._write(text)
            except OSError as error:
                self._give_up(error)
        return len(text)

    def flush(self) -> None:
        """Write what is buffered, or drop it."""
        if self.lost is None:
            try:
                self._stream.flush()
            except OSError as error:
                self._give_up(error)

    def isatty(self) -> bool:
        """Tell whether a person sees the text."""
        return self.lost is None and self._stream.isatty()

    def _write(self, text: str) -> None:
        if self._closed:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        try:
            self._stream.write(text)
        except UnicodeEncodeError:
            encoding = self._stream.encoding or "ascii"
            self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))

    def _give_up(self, error: OSError) -> None:
        """Remember the error, and let the rest go nowhere: the interpreter writes what is buffered once more at its end."""
        self.lost = error
        with contextlib.suppress(OSError, ValueError):  # ValueError: a stream without a descriptor
            _to_null_device(self._stream.fileno())

    def __getattr__(self, name: str) -> Any:
        # `encoding`, `fileno` and whatever else libraries ask of a stream.
        return getattr(self.__dict__["_stream"], name)


@contextlib.contextmanager
def lenient_streams() -> Iterator[LenientStream]:
    """Put lenient streams in the place of ``sys.stdout`` and ``sys.stderr``; yield the first of them."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            with contextlib.suppress(OSError):
                _to_null_device(descriptor)
    stdout, stderr = sys.stdout, sys.stderr
    lenient = LenientStream(stdout)
    # A stream by what it does: libraries only ever write, flush and ask for attributes.
    sys.stdout, sys.stderr = lenient, LenientStream(stderr)
    try:
        yield lenient
    finally:
        lenient.flush()
        sys.stderr.flush()
        sys.stdout, sys.stderr = stdout, stderr


def _to_null_device(descriptor: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    if null != descriptor:
        os.dup2(null, descriptor)
        os.close(null)
