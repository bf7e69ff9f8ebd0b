"""Runs commands in order on a small temporary disk, and prints the result of each, as JSON.

``unshare -rm python -m tests.faults.mounted_commands FOLDER STEP…``, where a step is ``mount OPTIONS``, for a tmpfs at FOLDER,
or a command line of spikestore. The disk is gone when the process ends.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys


def main(folder: str, steps: list[str]) -> None:
    """Run the steps; stop at a mount that fails."""
    results = []
    for step in steps:
        verb, *words = shlex.split(step)
        if verb == "mount":
            command = ["mount", "-t", "tmpfs", "-o", words[0], "spikestore-test", folder]
            subprocess.run(command, check=True, capture_output=True)
            continue
        done = subprocess.run(
            [sys.executable, "-m", "spikestore.store", verb, *words],
            capture_output=True,
            text=True,
            check=False,
        )
        results.append([done.returncode, done.stdout, done.stderr])
    print(json.dumps(results))  # noqa: T201 - the test reads it


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
