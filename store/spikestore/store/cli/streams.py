"""Replacements for standard streams: if a stream fails, its text is dropped and the command continues.

If a shell closed ``sys.stdout`` or ``sys.stderr`` (``>&-``), Python sets the stream to None. If the disk of a stream is full, Python
raises an error, and raises the same error again at the end of the process. In this module:

1. a closed descriptor 0, 1 or 2 is opened on the null device: otherwise a file of a store could get this number, and C
   libraries would write their messages into the file;
2. text that cannot be written is dropped, and :class:`LenientStream` records the error;
3. a stream in non-blocking mode (some terminals and services set this mode) is in blocking mode while the command runs. In
   non-blocking mode, Python would drop text without an error if the reader of the stream is slow;
4. a character that the stream's encoding lacks is written as an escape, so that a line can name any file.
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
        Destination of the text; None if the stream was closed before the process began.

    Attributes
    ----------
    lost : OSError or None
        Error of the first failed write or flush; None if nothing has failed.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._closed = stream is None
        # Closed with the object that holds it, at the end of the process.
        null = None if stream is not None else Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
        self._stream: Any = null or stream
        self.lost: OSError | None = None

    def write(self, text: str) -> int:
        """Write text and return its length; if the stream has failed, drop the text. Raise `TypeError` for bytes."""
        if not isinstance(text, str):
            # Libraries write bytes to test whether a stream is a text stream.
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        if self.lost is None and text:
            try:
                self._write(text)
            except OSError as error:
                self._give_up(error)
        return len(text)

    def flush(self) -> None:
        """Write buffered text; if the stream has failed, drop the text."""
        if self.lost is None:
            try:
                self._stream.flush()
            except OSError as error:
                self._give_up(error)

    def isatty(self) -> bool:
        """Return whether the stream is a working terminal."""
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
        """Record the error, and discard the buffered output and all later output.

        Otherwise the interpreter would try to write the buffered output at its exit.
        """
        self.lost = error
        with contextlib.suppress(OSError, ValueError):  # ValueError: a stream without a descriptor
            _to_null_device(self._stream.fileno())

    def __getattr__(self, name: str) -> Any:
        # `encoding`, `fileno` and other attributes that libraries use.
        return getattr(self.__dict__["_stream"], name)


@contextlib.contextmanager
def lenient_streams() -> Iterator[LenientStream]:
    """Replace ``sys.stdout`` and ``sys.stderr`` by streams whose writes never fail (`LenientStream`); yield the new ``sys.stdout``."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            with contextlib.suppress(OSError):
                _to_null_device(descriptor)
    stdout, stderr = sys.stdout, sys.stderr
    lenient = LenientStream(stdout)
    not_blocking = [descriptor for descriptor in (1, 2) if not _blocks(descriptor)]
    for descriptor in not_blocking:
        os.set_blocking(descriptor, True)
    # No subclass of TextIO is needed: libraries only write, flush and read attributes.
    sys.stdout, sys.stderr = lenient, LenientStream(stderr)
    try:
        yield lenient
    finally:
        lenient.flush()
        sys.stderr.flush()
        sys.stdout, sys.stderr = stdout, stderr
        for descriptor in not_blocking:
            os.set_blocking(descriptor, False)


def _blocks(descriptor: int) -> bool:
    try:
        return os.get_blocking(descriptor)
    except (AttributeError, OSError):  # Windows before Python 3.12, or a descriptor that is not open
        return True


def _to_null_device(descriptor: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    if null != descriptor:
        os.dup2(null, descriptor)
        os.close(null)
