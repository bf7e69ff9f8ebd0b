"""Padding and cutting of samples, in every residence and in the map-style data set."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spikestore.store import FeatureSet
from spikestore.store_schemas.errors import UsageError
from spikestore.train import FeatureDataset, FeatureLoader, SparseBatch
from spikestore.train.data.placement import Residence


def unchanged(batch: SparseBatch, epoch: int) -> SparseBatch:
    """Return the batch unchanged; with an augmentation, the loader builds batches from packed columns."""
    return batch


@settings(max_examples=6, deadline=None)
@given(
    residence=st.sampled_from(["host", "device", "stream"]),
    arguments=st.one_of(
        st.fixed_dictionaries(
            {}, optional={"truncate_to": st.integers(1, 19), "pad_to": st.integers(19, 24)}
        ),
        st.fixed_dictionaries(
            {"pad_at_least": st.integers(1, 24)}, optional={"truncate_to": st.integers(1, 19)}
        ),
    ),
    frames=st.sampled_from(["dense", "sparse_coo"]),
    augment=st.sampled_from([(), unchanged]),
)
def test_samples_are_cut_and_padded(
    features: FeatureSet, residence: Residence, arguments: dict[str, Any], frames: Any, augment: Any
) -> None:
    """Batches and items are the first bins of each sample, then zeros; the mask is true for the bins of the sample."""
    truth = FeatureDataset(features)
    items = FeatureDataset(features, **arguments)
    place = {int(row): item for item, row in enumerate(truth.rows)}
    cut = arguments.get("truncate_to", 19)
    for batch in FeatureLoader(features, 40, residence, frames=frames, augment=augment, **arguments):
        dense = batch.frames.to_dense()
        longest = int(batch.lengths.max())
        assert dense.shape[1] == arguments.get("pad_to", max(longest, arguments.get("pad_at_least", 0)))
        assert batch.mask.shape == dense.shape[:2]
        assert torch.equal(batch.mask.sum(1), batch.lengths)
        assert batch.mask[:, 0].all()
        for one, row in enumerate(batch.samples.tolist()):
            kept = truth[place[row]][0][:cut]
            assert int(batch.lengths[one]) == len(kept)
            assert np.array_equal(dense[one][batch.mask[one]].numpy(), kept)
            assert not dense[one][~batch.mask[one]].any()
            item = items[place[row]][0]
            bins = arguments.get("pad_to", max(len(kept), arguments.get("pad_at_least", 0)))
            assert np.array_equal(item, np.pad(kept, [(0, bins - len(kept)), (0, 0), (0, 0)]))


@pytest.mark.parametrize("kind", [FeatureLoader, FeatureDataset])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"truncate_to": 20},
            "truncate_to is 20, but the longest sample of SSC train has 19 time bins: lower truncate_to",
        ),
        (
            {"truncate_to": 10, "pad_to": 9},
            "pad_to is 9, but the longest sample of SSC train has 10 time bins after truncate_to: raise pad_to, lower truncate_to",
        ),
        ({"pad_to": 20, "pad_at_least": 20}, "pad_to and pad_at_least cannot be combined"),
        ({"pad_at_least": 0}, "pad_at_least must be a whole number of at least 1, got 0"),
    ],
)
def test_what_cannot_be_is_refused(
    features: FeatureSet, kind: Any, arguments: dict[str, Any], message: str
) -> None:
    """Each message is one line that names the argument."""
    others = {"batch_size": 16} if kind is FeatureLoader else {}
    with pytest.raises(UsageError, match=message):
        kind(features, **others, **arguments)


@pytest.mark.parametrize("padding", [{"pad_to": 9_000}, {"pad_at_least": 9_000}])
def test_padding_that_needs_too_much_memory_is_named(features: FeatureSet, padding: dict[str, Any]) -> None:
    """If samples fit, but not their padding, the error is not about a row that is too long."""
    sites = features.layout.site_count
    of_a_row = sites * features.manifest.n_bins * 4
    too_long = r"padded to 9,000 time bins takes [0-9,]+ bytes, .*; lower pad_to or pad_at_least, "
    with pytest.raises(
        UsageError, match=rf"a batch of 4 rows of .* {too_long}lower batch_size, or raise max_frame_"
    ):
        next(iter(FeatureLoader(features, 4, "host", max_frame_bytes=4 * of_a_row, **padding)))
    with pytest.raises(UsageError, match=rf"row \d+ of .* {too_long}or raise max_frame_bytes"):
        FeatureDataset(features, max_frame_bytes=of_a_row, **padding)[0]
    with pytest.raises(UsageError, match=r"row \d+ of .* has \d+ time bins: .*; crop in the transform"):
        next(iter(FeatureLoader(features, 4, "host", max_frame_bytes=4 * sites, **padding)))
