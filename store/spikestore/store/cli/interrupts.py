"""Functions for a Ctrl-C during imports, and for a second Ctrl-C.

torch's import drops exceptions in some places. If it dropped the `KeyboardInterrupt` of Ctrl-C, the command would go on with
incomplete modules. Therefore the exception is raised again after the imports.
"""

from __future__ import annotations

import signal
from types import FrameType
from typing import Never

__all__ = ["end_at_next_interrupt", "raise_dropped_interrupt", "remember_interrupts"]

_arrived: list[int] = []


def remember_interrupts() -> None:
    """Remember each Ctrl-C, which still raises `KeyboardInterrupt`; do nothing if the process has a handler of its own or ignores Ctrl-C."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _remember)


def raise_dropped_interrupt() -> None:
    """Restore Python's handler; raise `KeyboardInterrupt` if Ctrl-C has arrived since `remember_interrupts`.

    A command calls this function after its imports. In any thread but the main thread, nothing happens.
    """
    if signal.getsignal(signal.SIGINT) is not _remember:
        return
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    except ValueError:  # not the main thread
        return
    if _arrived:
        raise KeyboardInterrupt


def end_at_next_interrupt() -> None:
    """Let another Ctrl-C end the process at once.

    With Python's own handler, a Ctrl-C after the command, while the interpreter shuts down, would print a traceback.
    """
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def _remember(number: int, frame: FrameType | None) -> Never:
    _arrived.append(number)
    raise KeyboardInterrupt
