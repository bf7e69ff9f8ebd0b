"""Where a feature set lives while a network trains on it."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Literal

import torch

from spikestore.store import FeatureSet
from spikestore.store.machine import free_memory_bytes
from spikestore.store_schemas.errors import UsageError
from spikestore.store_schemas.wording import size_text
from spikestore.train.data.packed import packed_bytes

logger = logging.getLogger(__name__)

Residence = Literal["auto", "host", "device", "stream"]
Chosen = Literal["host", "device", "stream"]

_SHARE = 0.8
"""Share of the free memory that a set may take; the rest is for batches and the network."""

_ASSUMED_FREE = 4 * 2**30
"""Bytes, where the system does not say how much memory is free."""


def pick_device(device: str | torch.device) -> torch.device:
    """Return the device that is meant; ``auto`` is a GPU if there is one.

    Raises
    ------
    UsageError
        There is no such device here.
    """
    chosen = named_device(device)
    if device != "auto":
        try_device(chosen)
    return chosen


def named_device(device: str | torch.device) -> torch.device:
    """Return the device that is meant, as `pick_device` does, without work on it: a GPU keeps memory for each process.

    Raises
    ------
    UsageError
        It is no device on which a network can train, or there is no GPU at all.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except (RuntimeError, TypeError):
        raise UsageError(f"{device!r} is no device: say cpu, cuda or cuda:1") from None
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise UsageError(f"{device} was asked for, but torch {torch.__version__} sees no GPU here")
    if chosen.type == "meta":
        raise UsageError("a device 'meta' holds no numbers: say cpu, cuda or cuda:1")
    return chosen


def try_device(device: torch.device) -> None:
    """Make a tensor on a device.

    Raises
    ------
    UsageError
        That is not possible; the message has torch's first sentence.
    """
    if device.type == "cpu":
        return
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # AssertionError: torch was built without CUDA
        sentence = str(error).partition(". ")[0].partition("\n")[0]  # torch goes on for a page
        reason = sentence or type(error).__name__
        raise UsageError(f"{device} was asked for, and torch can't use it here: {reason}") from None


def choose_residence(features: FeatureSet, residence: Residence, device: torch.device) -> Chosen:
    """Return where the columns of a set will live, from an estimate made before anything is loaded.

    ``auto`` takes the device if it is a GPU and the set fits there, else the host if it fits there, else it streams;
    and says so in the log.

    Raises
    ------
    UsageError
        The set does not fit where it was asked for.
    """
    if residence not in ("auto", "host", "device", "stream"):
        raise UsageError(f"residence is 'auto', 'host', 'device' or 'stream', not {residence!r}")
    if residence == "stream":
        return residence
    needed = packed_bytes(features)
    free_host, free_device = free_host_bytes(), free_device_bytes(device)
    if residence == "auto":
        if needed > _SHARE * free_host:  # packed on the host first, also on its way to a device
            chosen: Chosen = "stream"
        else:
            chosen = "device" if device.type != "cpu" and needed <= _SHARE * free_device else "host"
        logger.info(
            "%s: %s packed, %s free on the host%s: %s",
            set_label(features),
            size_text(needed),
            size_text(free_host),
            "" if device.type == "cpu" else f", {size_text(free_device)} on {device}",
            "streamed from the store" if chosen == "stream" else f"kept on the {_name(chosen, device)}",
        )
        return chosen
    for name, free in {
        "host": free_host,
        _name(residence, device): free_device if residence == "device" else free_host,
    }.items():
        if needed > _SHARE * free:
            raise UsageError(
                f"{set_label(features)} needs {size_text(needed)} packed, and {size_text(free)} are free on the {name}, of which "
                f"it may take {_SHARE:.0%}: use residence 'stream', or fewer recordings (limit in the recipe)",
                needed=needed,
                free=free,
            )
    return residence


def agreed_residence(chosen: Iterable[Chosen]) -> Chosen:
    """Return the residence that all ranks can have, of those that each chose for itself: the one of least memory.

    Ranks whose orders differ would train some samples twice, and others never.
    """
    return max(chosen, key=("device", "host", "stream").index)


def free_device_bytes(device: torch.device) -> int:
    """Return the free memory of a device."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return free_host_bytes()


def free_host_bytes() -> int:
    """Return the memory that can be had without swapping."""
    free = free_memory_bytes()
    return _ASSUMED_FREE if free is None else free


def _name(chosen: str, device: torch.device) -> str:
    return f"device {device}" if chosen == "device" else "host"


def set_label(features: FeatureSet) -> str:
    """Return what a message calls a set."""
    return f"{features.manifest.source.dataset} {features.manifest.source.split}"
