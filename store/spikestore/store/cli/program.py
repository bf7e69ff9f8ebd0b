"""The process of the command ``spikestore``: what happens before and after :func:`spikestore.store.cli.main.main`."""

from __future__ import annotations

import gc
import sys

__all__ = ["program"]

STARTING = 300_000
"""Number of objects that imports and the start create; Python does not search for reference cycles before there are so many."""


def program() -> int:
    """Run the command line with the arguments of the process, and return its exit status.

    Call this function once, as the last action of a process. Unless the command has imported torch, the interpreter does not search for
    reference cycles when it ends: objects in such cycles are then not finalised.
    """
    _delay_collections()
    try:
        from spikestore.store.cli.main import main  # most of the start, and Ctrl-C may arrive in it

        return main()
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; run the same command again to resume\n")
        return 130
    finally:
        if "torch" not in sys.modules:  # Triton, which torch imports, prints a list of what is not collected
            gc.freeze()  # else the interpreter searches all modules for cycles at its end, a tenth of a short command


def _delay_collections() -> None:
    """Delay Python's first search for reference cycles until `STARTING` objects exist; later searches are as frequent as by default.

    Objects that imports create stay alive. By default, Python searches these objects for cycles again and again while their
    number grows.
    """
    former = gc.get_threshold()

    def restore(phase: str, info: dict[str, int]) -> None:
        if gc.get_threshold()[0] == STARTING:
            gc.set_threshold(*former)

    gc.callbacks.append(restore)
    gc.set_threshold(STARTING, *former[1:])
