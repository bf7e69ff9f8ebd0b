"""The process of the command ``spikestore``: what happens before and after :func:`spikestore.store.cli.main.main`."""

from __future__ import annotations

import gc
import sys

__all__ = ["program"]


def program() -> int:
    """Run the command line with the arguments of the process, and return its exit status.

    Call this function once, as the last action of a process. Python does not search for reference cycles while it imports the
    command line. When the process ends, the interpreter searches for reference cycles only if the command has imported torch;
    otherwise objects in reference cycles are not finalised.
    """
    # Searches begin here and not in a function of gc.callbacks, because Python drops exceptions of such functions: Ctrl-C was lost.
    gc.disable()
    try:
        # Most of the start, and Ctrl-C may arrive in it.
        from spikestore.store.cli.interrupts import end_at_next_interrupt, remember_interrupts
        from spikestore.store.cli.main import main

        gc.freeze()  # later searches skip the objects of imports, which stay alive
        gc.enable()
        remember_interrupts()
        if (status := main()) == 130:
            end_at_next_interrupt()
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; run the same command again to resume\n")
        return 130
    else:
        return status
    finally:
        if "torch" not in sys.modules:  # Triton, which torch imports, prints a list of what is not collected
            gc.freeze()  # else the interpreter searches all modules for cycles at its end, a tenth of a short command
