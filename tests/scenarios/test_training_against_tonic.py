"""Training from the store equals training on Tonic's transforms with PadTensors, bit for bit."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import sinabs
import tonic
import torch
from sinabs.layers import IAF
from tests.hypothesis_profiles import examples
from tests.scenarios.conftest import Built
from tonic import transforms
from torch import nn
from torch.utils.data import DataLoader, Subset

from spikestore.store import FeatureSet, Store
from spikestore.train import (
    Batch,
    FeatureDataset,
    FeatureLoader,
    NetworkSpec,
    build_network,
    epoch_order,
    forget_states,
    training_step,
)

pytestmark = pytest.mark.bits

BATCH = 16
STEPS = examples(4, by_hand=2)


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


class SeedsTraining(NamedTuple):
    """Results of training on Tonic's batches."""

    losses: list[torch.Tensor]
    parameters: list[torch.Tensor]


def train_as_the_seed(
    network: nn.Module,
    batches: list[tuple[torch.Tensor, torch.Tensor]],
    reset: Callable[[nn.Module], object] = sinabs.reset_states,
) -> SeedsTraining:
    """Train in a loop of plain torch, as the seed's script does it, with Adam steps."""
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    losses = []
    for frames, labels in batches:
        reset(network)
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(network(frames.squeeze(2)).sum(1), labels)
        loss.backward()
        optimiser.step()
        losses.append(loss.detach())
    return SeedsTraining(losses, [one for one in network.parameters() if one.requires_grad])


def seeds_network() -> nn.Sequential:
    """Return the seed's network, smaller, as its script builds it with Sinabs."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(100, 24), IAF(), nn.Linear(24, 24), IAF(), nn.Linear(24, 35))


def our_network(backend: Any) -> nn.Sequential:
    """Return the same network, built by us."""
    torch.manual_seed(0)
    return build_network(NetworkSpec(backend=backend, hidden=(24, 24)), sites=100, classes=35)


@pytest.fixture(scope="module")
def peers(dense_dataset: Any, features: FeatureSet) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return Tonic's batches in our order."""
    order = epoch_order(len(features), seed=3, epoch=0, digest=features.digest).tolist()
    return tonic_batches(dense_dataset, order)


@pytest.fixture(scope="module")
def truth(peers: list[tuple[torch.Tensor, torch.Tensor]]) -> SeedsTraining:
    """Return the results of the seed's script, with Sinabs on Tonic's batches."""
    return train_as_the_seed(seeds_network(), peers[:STEPS])


@pytest.mark.parametrize("residence", ["host", "device"])
def test_batches_are_bit_equal(
    peers: list[tuple[torch.Tensor, torch.Tensor]], features: FeatureSet, residence: Any
) -> None:
    """Frames and labels of every batch are those of Tonic's transforms with PadTensors, dtypes included."""
    ours = list(FeatureLoader(features, BATCH, residence, shuffle=True, seed=3))
    assert len(ours) == len(peers) == 5
    for batch, (frames, labels) in zip(ours, peers, strict=True):
        assert torch.equal(batch.frames, frames)
        assert batch.frames.dtype == frames.dtype
        assert torch.equal(batch.labels, labels)


@pytest.mark.parametrize("backend", ["sinabs", "fused"])
@pytest.mark.parametrize("residence", ["host", pytest.param("device", marks=pytest.mark.slow)])
def test_losses_and_weights_are_bit_equal(
    peers: list[tuple[torch.Tensor, torch.Tensor]],
    truth: SeedsTraining,
    features: FeatureSet,
    residence: Any,
    backend: Any,
) -> None:
    """Same seed, order and neurons: the loss of every Adam step and the final weights are equal, bit for bit."""
    if backend == "fused":
        truth = train_as_the_seed(our_network(backend), peers[:STEPS], forget_states)
    network = our_network(backend)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    loader = FeatureLoader(features, BATCH, residence, shuffle=True, seed=3)
    losses = [training_step(network, optimiser, batch) for batch in itertools.islice(loader, STEPS)]
    assert len(losses) == len(truth.losses) == STEPS
    assert all(torch.equal(loss, other) for loss, other in zip(losses, truth.losses, strict=True))
    ends = [one for one in network.parameters() if one.requires_grad]
    assert len(ends) == len(truth.parameters) == 6
    assert all(torch.equal(end, other) for end, other in zip(ends, truth.parameters, strict=True))


def test_fused_neurons_train_as_sinabs_does(truth: SeedsTraining, features: FeatureSet) -> None:
    """Losses from the store with fused neurons equal those from Tonic with Sinabs: the first to the last bit, the others up to rounding."""
    network = our_network("fused")
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    loader = FeatureLoader(features, BATCH, "host", shuffle=True, seed=3)
    losses = [training_step(network, optimiser, batch) for batch in itertools.islice(loader, STEPS)]
    assert torch.equal(losses[0], truth.losses[0])
    torch.testing.assert_close(losses, truth.losses, rtol=1e-4, atol=0)


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
