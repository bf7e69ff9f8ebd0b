"""A peer in a separate process. The process runs its work once for each request, so that rounds can alternate between processes."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any

from benchmarks.peers.environments import ENVIRONMENTS, python_of

ROOT = Path(__file__).parents[2]


class PeerError(Exception):
    """A peer is not available; the message has the reason, in one line."""


class PeerProcess:
    """A peer that is ready; `rate` makes it run its work once.

    Parameters
    ----------
    name : str
        Name of the peer's environment.
    module : str
        The module to run; it calls `benchmarks.peers.serve.serve`.
    arguments : str or Path
        Arguments of the module.

    Attributes
    ----------
    facts : dict
        Description of the peer, from the peer itself.

    Raises
    ------
    PeerError
        The peer is not installed, or ended before it was ready.
    """

    def __init__(self, name: str, module: str, *arguments: str | Path) -> None:
        self._name = name
        refuse_missing(name)
        self._process = subprocess.Popen(
            [str(python_of(name)), "-m", module, *map(str, arguments)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.facts: dict[str, Any] = json.loads(self._answer())

    def rate(self) -> float:
        """Make the peer run its work once; return the rate that it reports.

        Raises
        ------
        PeerError
            The peer ended.
        """
        stdin: Any = self._process.stdin
        stdin.write("go\n")
        stdin.flush()
        return float(self._answer())

    def _answer(self) -> str:
        stdout: Any = self._process.stdout
        line: str = stdout.readline()
        if not line:
            status = self._process.wait()
            raise PeerError(f"{self._name} ended with exit status {status}, see above")
        return line

    def __enter__(self) -> PeerProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()


def refuse_missing(name: str) -> None:
    """Raise an error if a peer (another library) cannot be imported in its environment.

    Raises
    ------
    PeerError
        The import fails; the message has the reason and the remedy.
    """
    code = f"import {ENVIRONMENTS[name].module}"
    done = subprocess.run(
        [str(python_of(name)), "-c", code],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise PeerError(f"{name} is not here ({last}): python -m benchmarks.peers {name}")
