"""Processes that train one network together: a launcher starts them, and each is a rank.

Every rank takes its share of each global batch, pads it as far as the whole batch is padded, and scales its loss so
that the mean of all ranks' gradients, which ``DistributedDataParallel`` takes, is the gradient of the mean over the
global batch, however unequal the shares. Whatever is counted is summed over ranks, so that all of them know the same
and decide alike.

When a rank fails, the first to fail says why; the others lose their connection, look whether somebody was first,
and end in silence.
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

# DistributedDataParallel imports this, and its functions have the process group of that moment as a default argument:
# imported only then, they keep gloo's threads until the interpreter ends, which ends now and then by SIGABRT.
import torch.distributed.nn.functional
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from spikestore.store_schemas.errors import SpikestoreError, UsageError
from spikestore.train.data.placement import named_device, pick_device, try_device
from spikestore.train.runs.launchers import Launched, launched

logger = logging.getLogger(__name__)

_T = TypeVar("_T")
_PATIENCE = timedelta(minutes=30)
"""How long ranks wait for each other in a step; those of one machine notice at once when one has ended."""
_MEETING = timedelta(minutes=10)
"""How long they wait for all to be there: a launcher may start them one after another."""
_LONG = timedelta(days=7)
"""How long they wait for the first one to copy feature sets."""
_KNOWN = inspect.signature(DistributedDataParallel).parameters
_OWN_BUFFERS: dict[str, Any] = {
    "forward_sync_buffers" if "forward_sync_buffers" in _KNOWN else "broadcast_buffers": False
}
"""The name that torch had for it before 2.13 is deprecated since."""


class RankError(SpikestoreError):
    """Ranks lost each other."""

    kind = "rank"


class AnotherRankError(RankError):
    """A rank ends because another one failed, and has said why."""

    kind = "another-rank"


@dataclass(frozen=True)
class Ranks:
    """A process among those that train one network.

    Attributes
    ----------
    rank, count : int
        Its number, and how many there are; 1 means that it is alone, and nothing is exchanged.
    local : int
        Its number on this machine.
    store : torch.distributed.Store, optional
        Keys and values that all ranks see.
    """

    rank: int = 0
    count: int = 1
    local: int = 0
    store: Any = None

    @property
    def first(self) -> bool:
        """Whether this rank writes checkpoints and logs."""
        return self.rank == 0

    def parallel(self, network: nn.Module) -> nn.Module:
        """Return a network whose gradients are the mean over ranks; `network` itself if this process is alone.

        Each rank has membrane potentials of its own, which Sinabs keeps as buffers: buffers are not sent.
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
        """Return time bins of the longest, and number of samples, of the batch of which this rank has a share."""
        if self.count == 1:
            return bins, samples
        shares = [torch.zeros(2, dtype=torch.int64) for _ in range(self.count)]
        dist.all_gather(shares, torch.tensor([bins, samples]))
        return max(int(share[0]) for share in shares), sum(int(share[1]) for share in shares)

    def padded(self, frames: Tensor, bins: int) -> Tensor:
        """Return frames with zeros behind, so that they have so many time bins."""
        missing = bins - frames.shape[1]
        if missing == 0:
            return frames
        return nn.functional.pad(frames, (0, 0) * (frames.dim() - 2) + (0, missing))

    def from_first(self, make: Callable[[], _T]) -> _T:
        """Return what `make` gives on the first rank; it is not called on the others."""
        if self.count == 1:
            return make()
        value = [make() if self.first else None]
        dist.broadcast_object_list(value)
        return value[0]  # type: ignore[return-value]

    def from_all(self, value: _T) -> list[_T]:
        """Return the values of all ranks."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        dist.all_gather_object(values, value)
        return values

    def once_a_machine(self, name: str, action: Callable[[], Any]) -> None:
        """Let one rank of each machine do something, while the others wait as long as it takes."""
        if self.local == 0:
            action()
        if self.count > 1:
            done = f"spikestore/{name}"
            self.store.set(f"{done}/{self.rank}", b"")
            self.store.wait([f"{done}/{rank}" for rank in range(self.count)], _LONG)


ALONE = Ranks()
"""The only process."""


@contextmanager
def joined(device: str) -> Iterator[tuple[Ranks, torch.device]]:
    """Meet the other ranks, if a launcher started several; yield what this process is among them, and its device.

    They exchange through gloo on CPUs, and through NCCL on GPUs, of which each takes the one with its number.

    Parameters
    ----------
    device : str
        ``auto``, ``cpu`` or ``cuda``; for a single process also one GPU of several, as ``cuda:1``.

    Raises
    ------
    UsageError
        There is no such device, or there are more ranks than GPUs; or variables say that there are several processes,
        and not where they meet (`launched`).
    RankError
        Another rank was ended from outside, or did not come.
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
    gc.collect()  # what holds the group would keep its threads beyond its end
    dist.destroy_process_group()


def _meet(process: Launched, device: str) -> Ranks:
    """Wait for the other processes at the place that their variables name."""
    local = process.local
    if local is None:
        if named_device(device).type == "cuda" and torch.cuda.device_count() > 1:
            raise UsageError(
                f"rank {process.rank} of {process.count} can't know which of {torch.cuda.device_count()} GPUs is its own: set "
                "LOCAL_RANK to its number on this machine, or start with torchrun"
            )
        local = 0
    if process.rank == 0:
        logger.info("%d processes meet at %s", process.count, process.meeting_point)
    try:
        store, _, _ = next(rendezvous("env://", process.rank, process.count, timeout=_MEETING))
    except (RuntimeError, ValueError, OSError) as error:  # torch's errors of stores are RuntimeErrors
        why = " ".join(str(error).split())[:200]
        raise RankError(
            f"rank {process.rank} of {process.count} could not meet the others at {process.meeting_point}, which "
            f"MASTER_ADDR and MASTER_PORT name: {why}"
        ) from error
    return Ranks(process.rank, process.count, local, store)


def _own_device(asked: str, ranks: Ranks) -> torch.device:
    if ranks.count == 1:
        return pick_device(asked)
    chosen = named_device(
        asked
    )  # of GPUs only the own one is touched: each process takes memory on those it touches
    if chosen.type not in ("cpu", "cuda"):
        raise UsageError(
            f"{ranks.count} ranks can train on cpu and on cuda, not on {chosen.type}: say --device cpu"
        )
    if chosen.type == "cpu":
        return chosen
    if ":" in asked:
        raise UsageError(f"{ranks.count} ranks take a GPU each: say --device cuda, not {asked}")
    if ranks.local >= torch.cuda.device_count():
        raise UsageError(
            f"there are {torch.cuda.device_count()} GPUs for more ranks than that on this machine: give torchrun "
            "--nproc-per-node gpu, or say --device cpu"
        )
    chosen = torch.device("cuda", ranks.local)
    torch.cuda.set_device(chosen)
    try_device(chosen)
    return chosen


def _with_rank(error: BaseException, ranks: Ranks) -> BaseException:
    """Return the error that this rank ends with: its own, with its number, if it is the first to fail."""
    try:
        earlier = ranks.store.add("spikestore/failed", 1) > 1
    except RuntimeError:  # the store went with the machine that had it
        earlier = False
    if earlier:
        return AnotherRankError(f"rank {ranks.rank} of {ranks.count} ends because another rank failed")
    if ranks.count > 1 and _is_connection(error):
        return RankError(
            f"rank {ranks.rank} of {ranks.count} lost the others: one was killed, perhaps for want of memory, or its "
            "machine can't be reached; the same command goes on from the last checkpoint"
        )
    if ranks.count > 1 and isinstance(error, SpikestoreError):
        error.message = f"rank {ranks.rank} of {ranks.count}: {error.message}"
    return error


def _is_connection(error: BaseException) -> bool:
    text = str(error).lower()
    return isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError) and ("gloo" in text or "nccl" in text)
    )
