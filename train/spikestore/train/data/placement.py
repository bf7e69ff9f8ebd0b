"""Decides where the packed columns of a feature set are during training: on the host, on the device, or streamed."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Literal

import torch

from spikestore.store import FeatureSet
from spikestore.store.columns.packed_size import packed_bytes
from spikestore.store.machine import free_memory_bytes
from spikestore.store_schemas.errors import UsageError
from spikestore.store_schemas.wording import size_text

logger = logging.getLogger(__name__)

Residence = Literal["auto", "host", "device", "stream"]
Chosen = Literal["host", "device", "stream"]

_SHARE = 0.8
"""Share of the free memory that a set may take; the rest is for batches and the network."""

_ASSUMED_FREE = 4 * 2**30
"""Free memory in bytes that is assumed if the system does not report it."""


def pick_device(device: str | torch.device) -> torch.device:
    """Return the torch device of a name; ``auto`` is a GPU if there is one.

    Raises
    ------
    UsageError
        The name is not that of a device, or torch can't use the device on this machine.
    """
    chosen = named_device(device)
    if device != "auto":
        try_device(chosen)
    return chosen


def named_device(device: str | torch.device) -> torch.device:
    """Return the torch device of a name; for ``auto``, CUDA if torch sees a GPU, else the CPU.

    The function does nothing on the device, because a GPU reserves memory for each process that uses it.

    Raises
    ------
    UsageError
        The name is not that of a device, no network can train on the device, or the device is a GPU, but torch sees no GPU.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except (RuntimeError, TypeError):
        raise UsageError(f"{device!r} is not a device: use cpu, cuda or cuda:1") from None
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise UsageError(
            f"no GPU for device {device}: torch {torch.__version__} sees no GPU here; use the device 'cpu' or 'auto', or install a "
            "CUDA build of torch and a driver for the GPU"
        )
    if chosen.type == "meta":
        raise UsageError("the device 'meta' holds no numbers: use cpu, cuda or cuda:1")
    return chosen


def try_device(device: torch.device) -> None:
    """Raise an error unless a tensor can be created on the device; a CPU is not tried.

    Raises
    ------
    UsageError
        No tensor can be created; the message contains the first sentence of torch's error.
    """
    if device.type == "cpu":
        return
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # AssertionError: torch was built without CUDA
        sentence = str(error).partition(". ")[0].partition("\n")[0]  # torch adds a page of advice
        reason = sentence or type(error).__name__
        raise UsageError(f"torch can't use the device {device} here: {reason}") from None


def choose_residence(features: FeatureSet, residence: Residence, device: torch.device) -> Chosen:
    """Return the residence of a set's columns, chosen by their estimated size before they are loaded.

    ``auto`` is ``stream`` if the set does not fit into host memory. If it fits, ``auto`` is ``device`` if the device is a GPU with
    enough memory, and ``host`` in all other cases. A set for
    ``device`` is loaded into host memory first, so it must fit there too. The choice is logged.

    Raises
    ------
    UsageError
        `residence` is none of the four names, or the set does not fit into the memory that this residence needs.
    """
    if residence not in ("auto", "host", "device", "stream"):
        raise UsageError(f"residence must be 'auto', 'host', 'device' or 'stream', got {residence!r}")
    if residence == "stream":
        return residence
    needed = packed_bytes(features.manifest)
    free_host, free_device = free_host_bytes(), free_device_bytes(device)
    if residence == "auto":
        if needed > _SHARE * free_host:  # a set is packed on the host first, even for a device
            chosen: Chosen = "stream"
        else:
            chosen = "device" if device.type != "cpu" and needed <= _SHARE * free_device else "host"
        logger.info(
            "%s needs %s of memory; %s are free on the host%s: the set is %s",
            set_label(features),
            size_text(needed),
            size_text(free_host),
            "" if device.type == "cpu" else f" and {size_text(free_device)} on {device}",
            "streamed from the store" if chosen == "stream" else f"kept on the {_name(chosen, device)}",
        )
        return chosen
    for name, free in {
        "host": free_host,
        _name(residence, device): free_device if residence == "device" else free_host,
    }.items():
        if needed > _SHARE * free:
            raise UsageError(
                f"{set_label(features)} needs {size_text(needed)} packed; the {name} has {size_text(free)} free, of which a set "
                f"may take {_SHARE:.0%}: use residence 'stream', or fewer recordings (limit in the recipe)",
                needed=needed,
                free=free,
            )
    return residence


def agreed_residence(chosen: Iterable[Chosen]) -> Chosen:
    """Return the residence for all ranks: of the residences in `chosen`, that which needs the least memory.

    The order of the samples depends on the residence. If the ranks had different residences, they would train on some
    samples twice and on other samples never.
    """
    return max(chosen, key=("device", "host", "stream").index)


def free_device_bytes(device: torch.device) -> int:
    """Return the free memory of a device in bytes; that of the host for any device other than a CUDA GPU."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return free_host_bytes()


def free_host_bytes() -> int:
    """Return the memory in bytes that is available without swapping; `_ASSUMED_FREE` if the system does not tell it."""
    free = free_memory_bytes()
    return _ASSUMED_FREE if free is None else free


def _name(chosen: str, device: torch.device) -> str:
    return f"device {device}" if chosen == "device" else "host"


def set_label(features: FeatureSet) -> str:
    """Return the name of a set, for messages."""
    return f"{features.manifest.source.dataset} {features.manifest.source.split}"
