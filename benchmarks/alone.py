"""Run scripts in separate processes, and measure the memory of a process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def numbers_of(script: str, *arguments: str) -> list[float]:
    """Run a script in a new process, and return the numbers in its last line of output."""
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], check=True, capture_output=True, text=True, cwd=ROOT
    )
    return [float(word) for word in done.stdout.splitlines()[-1].split()]


def peak_bytes() -> int:
    """Return the peak memory of this process.

    The number is the kernel's high-water mark of this address space. ``ru_maxrss`` is not used, because it includes the peak
    of the parent process.
    """
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
