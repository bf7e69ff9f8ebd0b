"""What a peer runs in the process that `benchmarks.peers.process` starts. This module imports only the standard library."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any


def answers() -> Any:
    """Return a stream that writes to the original stdout; from this call on, what libraries write to stdout goes to stderr."""
    stream = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return stream


def serve(stream: Any, work: Callable[[], float], **facts: object) -> None:
    """Write `facts` about this peer; then, for each line of stdin, call `work` and write the rate that it returns."""
    stream.write(json.dumps(facts) + "\n")
    stream.flush()
    for _ in sys.stdin:
        stream.write(f"{work()}\n")
        stream.flush()
