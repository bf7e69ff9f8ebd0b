"""The threads of a loader end with the pass that uses them."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pytest
import torch

from spikestore.store import FeatureSet
from spikestore.train import CutMix, FeatureLoader, Rotate
from spikestore.train.data.augmentation.moves import ChannelJitter
from spikestore.train.data.device_samples import SampleTable, TensorColumns
from spikestore.train.data.frames.augmentation_steps import StepInput
from spikestore.train.data.frames.collate import Assembly
from spikestore.train.data.frames.padding import Padding
from spikestore.train.data.frames.step_augmentation import Augmentations
from spikestore.train.data.packed import pack


def threads() -> list[str]:
    """Return the names of the loader's threads that are alive."""
    names = [one.name for one in threading.enumerate()]
    return [name for name in names if name.startswith(("spikestore-prefetch", "spikestore-loader"))]


def test_no_thread_is_left(features: FeatureSet) -> None:
    """No thread is left after a whole pass, a pass that stopped early, an error in the loop, or an iterator that was dropped."""
    loader = FeatureLoader(features, 8, threads=2)
    for _ in loader:
        pass
    assert threads() == []
    for _ in loader:
        break
    gc.collect()
    assert threads() == []
    iterator = iter(loader)
    next(iterator)
    assert threads() != []
    del iterator
    gc.collect()
    assert threads() == []

    def interrupted() -> None:
        for _ in loader:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    gc.collect()
    assert threads() == []


@pytest.mark.parametrize(
    ("mode", "restore"),
    [
        (lambda: torch.set_default_device("meta"), lambda: torch.set_default_device(None)),
        (lambda: torch.set_default_dtype(torch.bfloat16), lambda: torch.set_default_dtype(torch.float32)),
    ],
    ids=["device", "dtype"],
)
def test_defaults_of_the_caller_change_nothing(
    features: FeatureSet, mode: Callable[[], None], restore: Callable[[], None]
) -> None:
    """A part of the work is done in the thread that takes a batch; labels are mixed there."""
    truth = [*FeatureLoader(features, 8, augment=CutMix(), threads=1)]
    mode()
    try:
        batches = [*FeatureLoader(features, 8, augment=CutMix(), threads=1)]
        table = SampleTable(TensorColumns(pack(features), "cpu"), np.arange(4)).sent()
    finally:
        restore()
    assert all(
        one.equal(other)
        for batch, wanted in zip(batches, truth, strict=True)
        for one, other in zip(batch, wanted, strict=True)
    )
    assert table.device.type == "cpu"


def test_angles_of_rotations_are_on_the_host() -> None:
    """A loader computes steps in a thread, which has not the default device of the thread that made the loader."""
    torch.set_default_device("meta")
    try:
        Rotate(7.0).check((1, 4, 4), 5, 2)
    finally:
        torch.set_default_device(None)
    one = torch.zeros(1, dtype=torch.int64)
    (step,) = Rotate(7.0).steps(StepInput(one, one, one, (1, 4, 4), 0))
    assert step.drawn.device.type == "cpu"


@pytest.mark.parametrize("only_starts", [False, True])
def test_autograd_can_save_a_batch_that_inference_mode_has_taken(
    features: FeatureSet, only_starts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A first batch that a script takes to find its shape can be used in training."""
    monkeypatch.setattr(Assembly, "only_starts", only_starts)
    with torch.inference_mode():
        batch = next(iter(FeatureLoader(features, 8, "device", device="cpu", augment=CutMix(), threads=1)))
        assert torch.is_inference_mode_enabled()
    assert not any(tensor.is_inference() for tensor in batch)


def test_operations_that_only_start_need_no_thread(
    features: FeatureSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU, a thread and its stream take longer than the work that they do: batches are made when they are requested."""
    loader = FeatureLoader(features, 8, "device", shuffle=True, device="cpu", threads=1)
    truth = [*loader]
    monkeypatch.setattr(Assembly, "only_starts", True)
    loader.set_epoch(0)
    for batch, wanted in zip(loader, truth, strict=True):
        # This stand-in for a GPU has its frames filled by threads of the pool.
        assert not any(name.startswith("spikestore-prefetch") for name in threads())
        assert all(torch.equal(one, other) for one, other in zip(batch, wanted, strict=True))
    streamed = iter(FeatureLoader(features, 8, "stream", threads=1))
    next(streamed)
    assert any(name.startswith("spikestore-prefetch") for name in threads())  # reads wait


@pytest.mark.parametrize(
    ("device", "frames", "augment", "transform", "only_starts"),
    [
        ("cuda", "dense", [], None, True),
        ("cuda", "dense", [ChannelJitter(1)], None, False),
        ("cuda", "dense", [], lambda batch: batch, False),
        ("cuda", "sparse_coo", [], None, False),
        ("cpu", "dense", [], None, False),
    ],
)
def test_only_plain_batches_on_a_gpu_only_start(
    device: str,
    frames: Literal["dense", "sparse_coo"],
    augment: list[Any],
    transform: Any,
    only_starts: bool,
) -> None:
    """Others draw on the host, call unknown code, or wait for the GPU."""
    own = Augmentations(augment, 2)
    made = Assembly(torch.device(device), frames, Padding(), own, transform, reuse=True, threads=1)
    assert made.only_starts is only_starts
