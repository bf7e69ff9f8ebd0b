"""Training from the store equals training on Tonic's transforms with PadTensors, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sinabs
import tonic
import torch
from sinabs.layers import IAF
from tests.end_to_end.conftest import Built
from tonic import transforms
from torch import nn
from torch.utils.data import DataLoader, Subset

from spikestore.store_schemas import FeatureSet, Store
from spikestore.train import (
    Batch,
    FeatureDataset,
    FeatureLoader,
    NetworkSpec,
    build_network,
    epoch_order,
    training_step,
)

BATCH = 16
STEPS = 4


@pytest.fixture(scope="module")
def dense_dataset(demo: Path) -> Any:
    """Return the data set of the seed's script."""
    dense_transform = transforms.Compose(
        [
            transforms.Downsample(spatial_factor=100 / 700),
            transforms.CropTime(max=1e6),
            transforms.ToFrame(sensor_size=(100, 1, 1), time_window=4000, include_incomplete=True),
        ]
    )
    return tonic.datasets.SSC(str(demo), split="valid", transform=dense_transform)


@pytest.fixture(scope="module")
def features(built: Built) -> FeatureSet:
    """Return the same split from the store."""
    return Store(built.store)["demo:valid"]


def tonic_batches(dense_dataset: Any, order: list[int]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return the batches of a plain DataLoader with Tonic's PadTensors, in that order."""
    loader = DataLoader(
        Subset(dense_dataset, order),
        batch_size=BATCH,
        collate_fn=tonic.collation.PadTensors(batch_first=True),
    )
    return list(loader)


@pytest.mark.parametrize("residence", ["host", "device"])
def test_batches_losses_and_weights_are_bit_equal(
    dense_dataset: Any, features: FeatureSet, residence: Any
) -> None:
    """Same seed and order: every batch, the loss of every Adam step and the final weights are equal, bit for bit."""
    order = epoch_order(len(features), seed=3, epoch=0, digest=features.digest).tolist()
    loader = FeatureLoader(features, BATCH, residence, shuffle=True, seed=3)
    ours, peers = list(loader), tonic_batches(dense_dataset, order)
    assert len(ours) == len(peers) == 5
    for batch, (frames, labels) in zip(ours, peers, strict=True):
        assert torch.equal(batch.frames, frames)
        assert batch.frames.dtype == frames.dtype
        assert torch.equal(batch.labels, labels)

    torch.manual_seed(0)
    network = build_network(NetworkSpec(backend="sinabs", hidden=(24, 24)), sites=100, classes=35)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    losses = [training_step(network, optimiser, batch) for batch in ours[:STEPS]]

    torch.manual_seed(0)
    seed = nn.Sequential(nn.Linear(100, 24), IAF(), nn.Linear(24, 24), IAF(), nn.Linear(24, 35))
    seeds_optimiser = torch.optim.Adam(seed.parameters(), lr=1e-3)
    for frames, labels in peers[:STEPS]:
        sinabs.reset_states(seed)
        seeds_optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(seed(frames.squeeze(2)).sum(1), labels)
        loss.backward()
        seeds_optimiser.step()
        assert torch.equal(losses.pop(0), loss.detach())
    ends = [one for one in network.parameters() if one.requires_grad]
    truths = [one for one in seed.parameters() if one.requires_grad]
    assert len(ends) == len(truths) == 6
    assert all(torch.equal(end, truth) for end, truth in zip(ends, truths, strict=True))


def test_the_map_style_data_set_stands_in_for_tonics(dense_dataset: Any, features: FeatureSet) -> None:
    """Items equal Tonic's: frames with dtype and shape, labels with dtype."""
    dataset = FeatureDataset(features)
    assert len(dataset) == len(dense_dataset)
    for item in range(len(dataset)):
        (frames, label), (truth, target) = dataset[item], dense_dataset[item]
        assert frames.dtype == truth.dtype
        assert frames.shape == truth.shape
        assert (frames == truth).all()
        assert (label, type(label)) == (target, type(target))
    assert dataset.classes == tuple(name.decode() for name in dense_dataset.classes)


# The seed asks for 4 workers, whatever the machine has.
@pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker processes")
# Python 3.12 warns of any fork in a process with threads.
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_the_seeds_arguments_work_unchanged(features: FeatureSet) -> None:
    """A plain DataLoader with the seed's arguments, four forked workers included, gives the loader's samples."""
    dataloader_kwargs: dict[str, Any] = {
        "batch_size": 32,
        "shuffle": True,
        "drop_last": True,
        "pin_memory": torch.cuda.is_available(),  # without a GPU torch only warns
        "collate_fn": tonic.collation.PadTensors(batch_first=True),
        "num_workers": 4,
    }
    batches = list(DataLoader(FeatureDataset(features), **dataloader_kwargs))
    assert [len(labels) for _, labels in batches] == [32, 32]
    sums = {tuple(batch.frames[0].sum((0, 1)).tolist()) for batch in FeatureLoader(features, 1)}
    for frames, _ in batches:
        assert frames.dtype == torch.float32
        assert {tuple(one.sum((0, 1)).tolist()) for one in frames} <= sums


def test_batch_is_a_named_tuple() -> None:
    """Users unpack a batch, or name its parts."""
    assert Batch._fields == ("frames", "labels", "lengths", "samples")
