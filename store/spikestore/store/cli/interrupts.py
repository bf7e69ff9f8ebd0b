"""Functions for a Ctrl-C whose `KeyboardInterrupt` is dropped, and for a second Ctrl-C.

torch's import drops exceptions in some places. Python drops exceptions of finalisers and of callbacks of weak references, and only
prints their traceback. After a dropped `KeyboardInterrupt`, the command would go on, perhaps with incomplete modules. Therefore the
`KeyboardInterrupt` is raised again: after the imports, or 50 ms later.
"""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType
from typing import Never

__all__ = ["end_at_next_interrupt", "end_quietly", "raise_dropped_interrupt", "remember_interrupts"]

_LATER_S = 0.05

_arrived: list[int] = []
_report_unraisable = sys.unraisablehook


def remember_interrupts() -> None:
    """Remember each Ctrl-C; Ctrl-C still raises `KeyboardInterrupt`. Do nothing if the process has a handler of its own or ignores Ctrl-C.

    Whenever Python drops this exception, it is raised again 50 ms later.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _remember)
        sys.unraisablehook = _repeat_interrupt


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


def end_quietly() -> None:
    """From now on, be silent about errors in finalisers: after an interrupt, some objects are incomplete, and their finalisers fail.

    This function has no effect in a process that has not called `remember_interrupts`: such a process runs no command.
    """
    if sys.unraisablehook is _repeat_interrupt:
        sys.unraisablehook = _ignore


def end_at_next_interrupt() -> None:
    """Let another Ctrl-C end the process at once.

    With Python's own handler, a Ctrl-C after the command, while the interpreter shuts down, would print a traceback.
    """
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def _remember(number: int, frame: FrameType | None) -> Never:
    _arrived.append(number)
    raise KeyboardInterrupt


def _repeat_interrupt(dropped: sys.UnraisableHookArgs) -> None:
    """Repeat a Ctrl-C whose exception Python has dropped; report any other dropped exception as Python does."""
    if not issubclass(dropped.exc_type, KeyboardInterrupt):
        _report_unraisable(dropped)
        return
    later = threading.Timer(_LATER_S, _interrupt)  # not now: the exception would be dropped again
    later.daemon = True
    later.start()


def _ignore(_: sys.UnraisableHookArgs) -> None:
    pass


def _interrupt() -> None:
    main = threading.main_thread().ident
    if main is not None and callable(signal.getsignal(signal.SIGINT)):  # else the command has ended
        signal.pthread_kill(main, signal.SIGINT)  # also ends a wait of the main thread
