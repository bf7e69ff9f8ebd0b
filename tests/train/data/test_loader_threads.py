"""The threads of a loader end with the pass that uses them."""

from __future__ import annotations

import gc
import threading
from typing import Any, Literal

import pytest
import torch

from spikestore.store import FeatureSet
from spikestore.train import FeatureLoader
from spikestore.train.data.augmentation.moves import ChannelJitter
from spikestore.train.data.frames.collate import Assembly
from spikestore.train.data.frames.padding import Padding
from spikestore.train.data.frames.step_augmentation import Augmentations


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


def test_operations_that_only_start_need_no_thread(
    features: FeatureSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU, a thread and its stream take longer than the work that they do: batches are made when they are requested."""
    loader = FeatureLoader(features, 8, "device", shuffle=True, device="cpu", threads=1)
    truth = [*loader]
    monkeypatch.setattr(Assembly, "only_starts", True)
    loader.set_epoch(0)
    for batch, wanted in zip(loader, truth, strict=True):
        assert threads() == []
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
