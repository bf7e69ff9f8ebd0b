"""Processes that train one network together: a launcher starts the processes, and each process is a rank.

Every rank takes its share of each global batch and pads the share to as many time bins as the whole batch has. It multiplies the
summed loss of the share by the number of ranks, and divides the product by the number of samples of the global batch.
``DistributedDataParallel`` averages gradients over ranks, so the result is the gradient of the mean over the global
batch, even if shares differ in size. Counts, such as the number of correctly classified samples, are summed over ranks, so that
all ranks make the same decisions.

When a rank fails, it reports the cause. The other ranks lose their connection and see that another rank failed first: they
raise `AnotherRankError`, for which ``spikestore train`` prints nothing.
"""

from __future__ import annotations

import gc
import inspect
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist

# DistributedDataParallel imports this module, whose functions take the current process group as a default argument. If it is
# imported only then, the defaults keep gloo's threads until the interpreter exits, and the exit sometimes ends in SIGABRT.
import torch.distributed.nn.functional
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from spikestore.store_schemas.errors import SpikestoreError, UsageError
from spikestore.store_schemas.wording import plural
from spikestore.train.data.placement import named_device, pick_device, try_device
from spikestore.train.runs.launchers import Launched, launched

logger = logging.getLogger(__name__)

_T = TypeVar("_T")
_PATIENCE = timedelta(minutes=30)
"""Time that ranks wait for each other in a step; on one machine, a rank notices immediately that another has ended."""
_MEETING = timedelta(minutes=10)
"""Time that ranks wait until all have joined: a launcher may start them one after another."""
_LONG = timedelta(days=7)
"""Time that ranks wait while feature sets are copied."""
_KNOWN = inspect.signature(DistributedDataParallel).parameters
_OWN_BUFFERS: dict[str, Any] = {
    "forward_sync_buffers" if "forward_sync_buffers" in _KNOWN else "broadcast_buffers": False
}
"""torch 2.13 renamed the argument and deprecated the former name."""


class RankError(SpikestoreError):
    """Ranks lost their connection to each other."""

    kind = "rank"


class AnotherRankError(RankError):
    """Another rank failed and reports the cause."""

    kind = "another-rank"


@dataclass(frozen=True)
class Ranks:
    """Rank of this process among the processes that train one network together.

    Attributes
    ----------
    rank, count : int
        Number of this process, and the number of processes; with a count of 1 nothing is exchanged.
    local : int
        Number of this process on its machine; 0 if the launcher does not set it.
    store : torch.distributed.Store, optional
        Key-value store shared by all ranks.
    """

    rank: int = 0
    count: int = 1
    local: int = 0
    store: Any = None

    @property
    def first(self) -> bool:
        """Whether this is rank 0, which writes checkpoints and logs."""
        return self.rank == 0

    def parallel(self, network: nn.Module) -> nn.Module:
        """Return a network whose gradients are the mean over ranks; `network` itself if this process is alone.

        Buffers are not synchronised: Sinabs' own layers keep membrane potentials as buffers, and each rank has its own potentials.
        """
        if self.count == 1:
            return network
        return DistributedDataParallel(network, gradient_as_bucket_view=True, **_OWN_BUFFERS)

    def total(self, numbers: Tensor) -> Tensor:
        """Return the sum of a tensor over ranks."""
        if self.count > 1:
            numbers = numbers.clone()
            dist.all_reduce(numbers)
        return numbers

    def whole_batch(self, bins: int, samples: int) -> tuple[int, int]:
        """Return the largest `bins` and the sum of `samples` over all ranks.

        `bins` and `samples` are the numbers of time bins and samples that this rank has of a global batch.
        """
        if self.count == 1:
            return bins, samples
        shares = [torch.zeros(2, dtype=torch.int64) for _ in range(self.count)]
        dist.all_gather(shares, torch.tensor([bins, samples]))
        return max(int(share[0]) for share in shares), sum(int(share[1]) for share in shares)

    def padded(self, frames: Tensor, bins: int) -> Tensor:
        """Return frames that are padded with zeros to `bins` time bins."""
        missing = bins - frames.shape[1]
        if missing == 0:
            return frames
        return nn.functional.pad(frames, (0, 0) * (frames.dim() - 2) + (0, missing))

    def from_first(self, make: Callable[[], _T]) -> _T:
        """Return, on all ranks, the result of `make` on rank 0; the other ranks do not call `make`."""
        if self.count == 1:
            return make()
        value = [make() if self.first else None]
        dist.broadcast_object_list(value)
        return value[0]  # type: ignore[return-value]

    def from_all(self, value: _T) -> list[_T]:
        """Return the values of all ranks, in the order of ranks."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        dist.all_gather_object(values, value)
        return values

    def once_a_machine(self, name: str, action: Callable[[], Any]) -> None:
        """Call `action` on the ranks with the local number 0; all ranks return after these calls have finished.

        On each machine, one rank has the local number 0. If the launcher sets no local numbers, all ranks have the local number 0.
        """
        if self.local == 0:
            action()
        if self.count > 1:
            done = f"spikestore/{name}"
            self.store.set(f"{done}/{self.rank}", b"")
            self.store.wait([f"{done}/{rank}" for rank in range(self.count)], _LONG)


ALONE = Ranks()
"""Ranks of a single process."""


@contextmanager
def joined(device: str) -> Iterator[tuple[Ranks, torch.device]]:
    """Connect to the other ranks, if a launcher started several processes; yield this process's `Ranks` and device.

    Ranks communicate through gloo on CPUs and through NCCL on GPUs. Each rank uses the GPU whose number is its local rank.

    Delete all references to results of `Ranks.parallel` before the ``with`` block ends. A result that is freed later ends the
    connection while the GIL is held. A thread of gloo waits for the GIL, so the process would hang (seen with torch 2.13).

    Parameters
    ----------
    device : str
        ``auto``, ``cpu`` or ``cuda``; for a single process also a specific GPU, such as ``cuda:1``.

    Raises
    ------
    UsageError
        The device does not exist, or a machine has more ranks than GPUs; or environment variables announce several
        processes, but not where they meet (`launched`).
    RankError
        Another rank was killed, or did not join.
    AnotherRankError
        Another rank failed first.
    """
    by_torchrun = dist.is_torchelastic_launched()
    process = None if by_torchrun else launched(os.environ)
    if by_torchrun:
        store, rank, count = next(rendezvous("env://"))
        ranks = Ranks(rank, count, dist.get_node_local_rank(0), store)
    elif process is not None:
        ranks = _meet(process, device)
    else:
        yield ALONE, pick_device(device)
        return
    store, rank, count = ranks.store, ranks.rank, ranks.count
    try:
        own_device = _own_device(device, ranks)
        backend = "cpu:gloo,cuda:nccl" if own_device.type == "cuda" else "gloo"
        group = PrefixStore("spikestore/group", store)
        dist.init_process_group(backend, timeout=_PATIENCE, store=group, rank=rank, world_size=count)
        yield ranks, own_device
    except BaseException as error:
        raised = _with_rank(error, ranks)
        if raised is error:
            raise
        raise raised from error
    gc.collect()  # objects that hold the group would keep its threads alive
    dist.destroy_process_group()


def _meet(process: Launched, device: str) -> Ranks:
    """Connect to the other processes through the address in the environment variables MASTER_ADDR and MASTER_PORT."""
    local = process.local
    if local is None:
        if named_device(device).type == "cuda" and torch.cuda.device_count() > 1:
            raise UsageError(
                f"rank {process.rank} of {process.count} does not know which of {torch.cuda.device_count()} GPUs to use: set "
                "LOCAL_RANK to the number of this process on this machine (0, 1, …), or start with torchrun"
            )
        local = 0
    if process.rank == 0:
        logger.info("%d processes connect at %s", process.count, process.meeting_point)
    try:
        store, _, _ = next(rendezvous("env://", process.rank, process.count, timeout=_MEETING))
    except (RuntimeError, ValueError, OSError) as error:  # torch's store errors are RuntimeErrors
        why = " ".join(str(error).split())[:200].rstrip(".")
        raise RankError(
            f"rank {process.rank} of {process.count} could not connect to the other ranks at {process.meeting_point} "
            f"(MASTER_ADDR and MASTER_PORT): {why}. For all ranks, set MASTER_ADDR to the host of rank 0, and "
            "MASTER_PORT to a free port of this host. Every machine must be able to reach this port. Start all ranks within 10 minutes"
        ) from error
    return Ranks(process.rank, process.count, local, store)


def _own_device(name: str, ranks: Ranks) -> torch.device:
    if ranks.count == 1:
        return pick_device(name)
    # Only the own GPU is touched: a process takes memory on each GPU that it touches.
    chosen = named_device(name)
    if chosen.type not in ("cpu", "cuda"):
        raise UsageError(
            f"{ranks.count} ranks can train on cpu or cuda, not on {chosen.type}: use --device cpu"
        )
    if chosen.type == "cpu":
        return chosen
    if ":" in name:
        raise UsageError(f"{ranks.count} ranks need a GPU each: use --device cuda, not {name}")
    if ranks.local >= (gpus := torch.cuda.device_count()):
        raise UsageError(
            f"this machine has {plural(gpus, 'GPU')}, but more ranks run on it: start torchrun with "
            "--nproc-per-node gpu, or use --device cpu"
        )
    chosen = torch.device("cuda", ranks.local)
    torch.cuda.set_device(chosen)
    try_device(chosen)
    return chosen


def _with_rank(error: BaseException, ranks: Ranks) -> BaseException:
    """Return the error that ends this rank.

    This is an `AnotherRankError` if another rank failed first. Otherwise, a lost connection to other ranks becomes a
    `RankError`. Any other `error` is returned itself. With several ranks, the message of an error of spikestore begins with
    the rank's number.
    """
    try:
        earlier = ranks.store.add("spikestore/failed", 1) > 1
    except RuntimeError:  # the machine of the store is down
        earlier = False
    if earlier:
        return AnotherRankError(f"rank {ranks.rank} of {ranks.count} ends because another rank failed")
    if ranks.count > 1 and _is_connection(error):
        return RankError(
            f"rank {ranks.rank} of {ranks.count} lost the connection to the other ranks: a rank was killed, perhaps for lack of memory, "
            "or its machine can't be reached; the same command, without --restart, resumes from the last checkpoint"
        )
    if ranks.count > 1 and isinstance(error, SpikestoreError):
        error.message = f"rank {ranks.rank} of {ranks.count}: {error.message}"
    return error


def _is_connection(error: BaseException) -> bool:
    text = str(error).lower()
    return isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError) and ("gloo" in text or "nccl" in text)
    )
