"""Batches as tables, and on matplotlib axes."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from spikestore.store import FeatureSet
from spikestore.store_schemas.errors import UsageError
from spikestore.train import pack
from spikestore.train.data.batch import Batch, SparseBatch
from spikestore.train.data.batch_views import label_text
from spikestore.train.data.device_samples import TensorColumns


@pytest.fixture(scope="module")
def columns(features: FeatureSet) -> SparseBatch:
    """Return a batch of ten samples."""
    return TensorColumns(pack(features)).gather(torch.arange(10))


@pytest.mark.parametrize("sparse", [False, True])
def test_tables(columns: SparseBatch, sparse: bool) -> None:
    """Shape, kind, share of non-zeros, lengths, and the first labels and rows."""
    batch = columns.batch(sparse=sparse)
    text = batch._repr_html_()
    share = len(columns.index) / batch.frames.numel()
    kind = "sparse" if sparse else "dense"
    assert f"float32 {tuple(batch.frames.shape)}, {kind}, on cpu; {share:.2%} are not 0" in text
    assert f"{int(batch.lengths.min())} to {int(batch.lengths.max())} time bins" in text
    assert f"rows {', '.join(map(str, batch.samples[:8].tolist()))}, …" in text
    assert "batch of 10 samples" in text


def test_texts_of_labels() -> None:
    """The text of a class is its name, that of a mixed label its parts, the largest first."""
    assert label_text(torch.tensor(1), ("yes", "no")) == "no"
    assert label_text(torch.tensor(1), None) == "class 1"
    assert label_text(torch.tensor([0.25, 0.0, 0.75]), ("a", "b", "c")) == "0.75 c + 0.25 a"
    assert label_text(torch.tensor([0.0, 1.0]), None) == "1.00 class 1"
    mixed = Batch(torch.zeros(1, 2, 1, 3), torch.tensor([[0.5, 0.5]]), torch.tensor([2]), torch.tensor([0]))
    assert "weights of 2 classes" in mixed._repr_html_()


@pytest.mark.slow
@pytest.mark.parametrize("sparse", [False, True])
def test_plots(
    columns: SparseBatch, features: FeatureSet, sparse: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each sample is plotted without its padding, over bins or over the times of its set."""
    monkeypatch.setenv("MPLBACKEND", "Agg")
    from matplotlib import pyplot

    batch = columns.batch(sparse=sparse)
    frames = columns.batch().frames
    axes = batch.plot(most=3)
    assert axes.shape == (3,)
    for place, one in enumerate(axes):
        length = int(batch.lengths[place])
        assert one.get_title() == f"row {int(batch.samples[place])}: class {int(batch.labels[place])}"
        assert one.get_xlabel() == "time bin"
        assert torch.equal(torch.tensor(one.images[0].get_array().data), frames[place, :length, 0].T.double())
    named = batch.plot(features, most=1)[0]
    assert named.get_xlabel() == "time after the first event (ms)"
    assert named.get_title().endswith(f": {features.classes[int(batch.labels[0])]}")
    pyplot.close("all")


@pytest.mark.parametrize("most", [0, -1, 1.5])
def test_plots_of_no_sample(columns: SparseBatch, most: Any) -> None:
    """The number of samples to plot must be a whole number of at least 1."""
    with pytest.raises(UsageError, match="most must be a whole number"):
        columns.batch().plot(most=most)
