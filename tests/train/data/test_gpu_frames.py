"""Frames that a GPU makes are those of the CPU: in Triton's interpreter if it is installed, and on a GPU."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from tests.train.neurons.test_triton_kernels import needs_triton

from spikestore.store import FeatureSet
from spikestore.train import FeatureLoader, PackedColumns, TimeShift, pack
from spikestore.train.data import device_samples
from spikestore.train.data import placement as residences
from spikestore.train.data.batch import signed_view
from spikestore.train.data.device_samples import DeviceSamples, SampleTable, TensorColumns

BUSY_CYCLES = 40_000_000
"""Cycles of some 20 ms of a GPU, in which a loader makes several batches."""


def compare(device: str) -> None:
    """Assert that the kernel writes the non-zeros of its samples for all dtypes of columns, and no value outside a row."""
    from spikestore.train.data.gpu_frames import fill

    rng = np.random.default_rng(0)
    places = 70_000
    counts = np.array([0, 1, 5000, 3, 9000])
    ends = np.cumsum(counts)
    for index_dtype in (np.uint32, np.int64, np.uint16):
        for value_dtype, most in (
            (np.uint8, 255),
            (np.uint16, 65535),
            (np.uint32, 2**32 - 1),
            (np.float32, 9),
        ):
            highest = min(places, int(np.iinfo(index_dtype).max) + 1)
            columns = [np.sort(rng.choice(highest, count, replace=False)) for count in counts]
            index = np.concatenate(columns).astype(index_dtype)
            value = rng.integers(1, most, len(index), endpoint=True).astype(value_dtype)
            truth = np.zeros((len(counts), places), np.float32)
            for row, (start, end) in enumerate(zip(ends - counts, ends, strict=True)):
                truth[row, index[start:end].astype(np.int64)] = value[start:end]
            for order in ([0, 1, 2, 3, 4], [4, 1, 1, 0]):
                starts = torch.from_numpy((ends - counts)[order]).to(device)
                frames = torch.zeros((len(order), places), device=device)
                ours, values = (signed_view(column).to(device) for column in (index, value))
                fill(ours, values, starts, torch.from_numpy(ends[order]).to(device), frames)
                assert np.array_equal(frames.cpu().numpy(), truth[order]), (index_dtype, value_dtype, order)
    short = torch.zeros((2, 60_000), device=device)
    outside = torch.tensor([1, 59_999, 60_000, -1, 0], device=device)
    numbers = torch.arange(1.0, 6.0, device=device)
    fill(outside, numbers, torch.tensor([0, 4], device=device), torch.tensor([4, 5], device=device), short)
    assert short.nonzero().tolist() == [[0, 1], [0, 59_999], [1, 0]]


@needs_triton
@pytest.mark.slow
def test_in_the_interpreter() -> None:
    """It runs in another process, because Triton's interpreter must be chosen before Triton is imported."""
    code = "from tests.train.data.test_gpu_frames import compare; compare('cpu')"
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


def test_samples_of_a_device_are_those_of_the_set(
    features: FeatureSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches of a set on a device may have any order, repeated samples, no samples, and samples of two tables."""
    monkeypatch.setattr(device_samples, "BATCHES_PER_TABLE", 2)
    columns = pack(features)
    device = TensorColumns(columns)
    positions, edges = np.array([5, 3, 5, 0, 7, 8]), np.array([0, 3, 4, 4, 6])
    batches = list(device.batches(positions, edges))
    assert len({one.table for one in batches}) == 2
    for samples, first, last in zip(batches, edges, edges[1:], strict=False):
        wanted = positions[first:last]
        batch, truth = samples.batch(), device.gather(torch.from_numpy(wanted)).batch()
        assert all(torch.equal(*pair) for pair in zip(batch, truth, strict=True))
        assert samples.lengths.tolist() == batch.lengths.tolist()
        assert samples.samples.tolist() == batch.samples.tolist()
        assert (len(samples), samples.sites) == (len(wanted), columns.sites)
        sent = samples.table.sent()[:, samples.first : samples.last]
        assert torch.equal(sent[2:], torch.stack([batch.labels, batch.lengths, batch.samples]))
        assert (sent[1] - sent[0]).tolist() == np.diff(columns.offsets)[wanted].tolist()


def test_each_stream_has_a_table_of_its_own(features: FeatureSet, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script may take batches in several CUDA streams: one must not read a table that another one is still receiving."""
    table = SampleTable(TensorColumns(pack(features)), np.arange(3))
    sent = []
    for stream in (7, 8, 7):
        monkeypatch.setattr(device_samples, "current_stream", lambda _, stream=stream: stream)
        sent.append(table.sent())
    assert sent[0] is sent[2]
    assert sent[0].data_ptr() != sent[1].data_ptr()
    assert torch.equal(sent[0], sent[1])


@pytest.mark.gpu
def test_batches_may_be_taken_in_several_streams(features: FeatureSet) -> None:
    """Each batch is complete in the stream in which it was taken, whatever the other streams do."""
    streams, taken = [torch.cuda.Stream() for _ in range(2)], []
    loader = FeatureLoader(features, 16, "device", device="cuda")
    with torch.cuda.stream(streams[0]):
        torch.cuda._sleep(BUSY_CYCLES)
    batches = iter(loader)
    for number in range(len(loader)):
        with torch.cuda.stream(streams[number % 2]):
            taken.append(next(batches))
    torch.cuda.synchronize()
    for batch, wanted in zip(taken, FeatureLoader(features, 16, "host"), strict=True):
        assert all(torch.equal(one.cpu(), other) for one, other in zip(batch, wanted, strict=True))


@pytest.mark.gpu
@pytest.mark.parametrize("make", [DeviceSamples.batch, lambda samples: samples.packed().batch()])
def test_columns_stay_until_every_stream_has_read_them(features: FeatureSet, make: Any) -> None:
    """A script drops the loader while its own stream is busy; other work then asks for memory of the size of the columns."""
    packed = pack(features)
    positions, edges = np.arange(len(packed)), np.array([0, len(packed)])
    (truth,) = map(make, TensorColumns(packed).batches(positions, edges))
    columns = TensorColumns(packed, "cuda")
    sizes = [column.nbytes for column in columns.tensors]
    next(map(make, columns.batches(positions, edges)))  # compiles the kernel
    with torch.cuda.stream(torch.cuda.Stream()):
        torch.cuda._sleep(BUSY_CYCLES)
        (batch,) = map(make, columns.batches(positions, edges))
    del columns
    others = [torch.full((size,), 77, dtype=torch.uint8, device="cuda") for size in sizes]
    torch.cuda.synchronize()
    assert torch.equal(batch.frames.cpu(), truth.frames)
    del others


@pytest.mark.gpu
def test_on_a_gpu() -> None:
    """The comparison runs on the GPU itself."""
    compare("cuda")


@pytest.mark.gpu
@pytest.mark.parametrize("kind", ["dense", "augmented", "sparse_coo"])
@pytest.mark.parametrize("residence", ["host", "device", "stream"])
def test_batches_are_whole_while_the_gpu_is_busy(
    features: FeatureSet, residence: residences.Residence, kind: str
) -> None:
    """Work of the loader does not wait for that of the network, and no kernel of it runs before its input exists."""
    options: dict[str, Any] = {"augment": [TimeShift(2)] if kind == "augmented" else [], "reuse": False}
    if kind == "sparse_coo":
        options["frames"] = kind
    truth = list(FeatureLoader(features, 16, "host", **options))
    found = []
    for batch in FeatureLoader(features, 16, residence, device="cuda", **options):
        torch.cuda._sleep(BUSY_CYCLES)
        found.append(batch)
    for one, another in zip(found, truth, strict=True):
        for mine, wanted in zip(one, another, strict=True):
            same = (mine.cpu().to_dense(), wanted.to_dense()) if wanted.is_sparse else (mine.cpu(), wanted)
            assert torch.equal(*same)


@pytest.mark.gpu
def test_wide_columns_on_a_gpu(features: FeatureSet) -> None:
    """Columns of any width give the frames of the CPU."""
    packed = pack(features)
    positions = np.arange(len(packed))[::-1].copy()
    edges = np.array([0, len(positions)])
    (truth,) = (samples.batch() for samples in TensorColumns(packed).batches(positions, edges))
    for index, value in ((np.uint32, np.uint16), (np.int64, np.float32)):
        fields = {**vars(packed), "index": packed.index.astype(index), "value": packed.value.astype(value)}
        columns = TensorColumns(PackedColumns(**fields), "cuda")
        (batch,) = (samples.batch() for samples in columns.batches(positions, edges))
        torch.cuda.synchronize()
        assert all(torch.equal(one.cpu(), other) for one, other in zip(batch, truth, strict=True))
