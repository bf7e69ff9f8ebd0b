"""Runs a compiled task on torch's own threads.

A second thread pool would have to share the cores with torch's threads, which keep spinning for a while after each
operation of torch. So the task runs in the OpenMP library that torch has loaded, with at most as many threads as torch uses. This
module calls the library through the entry point that compilers use. If no such library is found, as on Windows or if torch was
built without OpenMP, plain threads are used.
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
    """Call a task on several threads and wait for all of them.

    Parameters
    ----------
    task : numba.core.ccallback.CFunc
        Takes the address of the job, and works on parts of the job until no part is left.
    job : int
        Address of the job.
    parts : int
        Number of parts of the job, and maximum number of threads.
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
    """Return ``GOMP_parallel`` of the OpenMP library loaded in this process; None if no such library is loaded."""
    if not hasattr(os, "RTLD_NOLOAD"):  # Windows can't look up a loaded library
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
    # One pool per process: threads do not survive a fork.
    return ThreadPoolExecutor(thread_name_prefix="spikestore-iaf")
