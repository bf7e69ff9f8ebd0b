"""Provenance of a build: versions, executor, time and counts, but no user, host or path."""

from __future__ import annotations

import functools
import importlib.metadata
import platform
from datetime import UTC, datetime
from typing import Any

_PACKAGES = ("spikestore", "tonic", "h5py", "numpy", "zarr", "numcodecs", "pcodec", "dask")


def provenance(
    *,
    executor: str,
    workers: int,
    seconds: float,
    reused_fragments: int,
    taken: int = 0,
    finer: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the provenance that the manifest records about a build.

    Parameters
    ----------
    executor : str
        Implementation that ran the transform. With ``--part``: the one that a build without ``--part`` would use.
    workers : int
        Number of tasks that ran at the same time.
    seconds : float
        Wall time of this run.
    reused_fragments : int
        Number of fragments that interrupted runs or other builders had stored.
    taken : int
        Number of recordings that this run did not read, because a committed set of the same transform, or a finer set, had
        their rows. The number 0 is not recorded.
    finer : dict, optional
        Identity of the finer set.
    """
    known: dict[str, Any] = {}
    if taken:
        known = (
            {"reused_recordings": taken}
            if finer is None
            else {"derived_recordings": taken, "derived_from": finer}
        )
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "executor": executor,
        "packages": {name: _version(name) for name in _PACKAGES},
        "python": platform.python_version(),
        "reused_fragments": reused_fragments,
        **known,
        "seconds": round(seconds, 3),
        "workers": workers,
    }


@functools.cache  # for all packages it takes a tenth of a second, and a sweep would repeat it for each set
def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
