"""Runs a compiled task on torch's own threads.

A second pool of threads beside torch's slows both down: the threads of OpenMP go on spinning for a while after each
of torch's operations, on the cores that the others want. So the task runs in the OpenMP that torch has loaded,
through the entry point that its compiler uses, with as many threads as torch would take. Where there is none (a
torch that was built otherwise) plain threads take the place.
"""

from __future__ import annotations

import ctypes
import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import torch

_TASK = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_LIBRARIES = ("libgomp.so.1", "libomp.so", "libiomp5.so", "libomp.dylib", "libiomp5.dylib")


def run_task(task: Any, job: int, parts: int) -> None:
    """Call a task on several threads at once, and wait for all.

    Parameters
    ----------
    task : numba.core.ccallback.CFunc
        Takes the address of the job, and pieces of it until none is left.
    job : int
        Address of the job.
    pieces : int
        Pieces of the job: more threads than that are not started.
    """
    threads = min(torch.get_num_threads(), parts)
    if threads <= 1:
        task.ctypes(job)
        return
    parallel = _openmp()
    if parallel is not None:
        parallel(task.address, job, threads, 0)
        return
    futures = [_plain_threads(os.getpid()).submit(task.ctypes, job) for _ in range(threads - 1)]
    task.ctypes(job)
    for future in futures:
        future.result()


@cache
def _openmp() -> Any:
    """``GOMP_parallel`` of an OpenMP library that is in this process already; None if there is none."""
    if not hasattr(os, "RTLD_NOLOAD"):  # Windows can't ask for a library that is loaded already
        return None
    for name in _LIBRARIES:
        try:
            parallel = ctypes.CDLL(name, mode=os.RTLD_NOLOAD | os.RTLD_LAZY).GOMP_parallel
        except (OSError, AttributeError):
            continue
        parallel.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
        parallel.restype = None
        return parallel
    return None


@cache
def _plain_threads(_process: int) -> ThreadPoolExecutor:
    # By process: threads do not survive a fork.
    return ThreadPoolExecutor(thread_name_prefix="spikestore-iaf")
