"""A loader with `rebin` yields the batches of a loader of the coarser set."""

from __future__ import annotations

import logging
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from tests.pipeline.cochlea_files import draw, write_file
from tests.pipeline.deriving.test_derived_sets import FINE, ON_THE_EDGE, build, transform

from spikestore.pipeline.sources.source_files import make_source
from spikestore.store.feature_set import FeatureSet
from spikestore.store_schemas.errors import UsageError
from spikestore.store_schemas.specs.transform import Transform
from spikestore.train import FeatureDataset, FeatureLoader
from spikestore.train.data.rebinning.rebinned_set import RebinnedSet

REBIN = (4, 7)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("sets")
    write_file(folder / "ssc_train.h5", draw(70))
    write_file(folder / "edge/ssc_train.h5", [*draw(3), ON_THE_EDGE])
    return folder


@pytest.fixture(scope="module")
def sets(folder: Any) -> tuple[FeatureSet, FeatureSet]:
    """Return a fine set and a coarse one."""
    source = make_source("SSC", "train", folder)
    return tuple(build(source, what, folder / "store") for what in (FINE, transform(100, 4)))


@pytest.mark.parametrize("residence", ["host", "device", "stream"])
def test_batches_equal_those_of_the_coarser_set(sets: tuple[FeatureSet, FeatureSet], residence: Any) -> None:
    fine, coarse = sets
    options: dict[str, Any] = {
        "residence": residence,
        "rows": range(1, 70),
        "pad_at_least": 40,
        "truncate_to": 200,
    }
    rebinned = FeatureLoader(fine, 32, rebin=REBIN, **options)
    assert rebinned.dataset.targets.tolist() == FeatureLoader(coarse, 32, **options).dataset.targets.tolist()
    for found, wanted in zip(rebinned, FeatureLoader(coarse, 32, **options), strict=True):
        for name in ("frames", "labels", "lengths", "samples"):
            assert torch.equal(getattr(found, name), getattr(wanted, name)), name
        assert torch.equal(found.mask, wanted.mask)


def test_items_and_columns_equal_those_of_the_coarser_set(sets: tuple[FeatureSet, FeatureSet]) -> None:
    fine, coarse = sets
    found, wanted = FeatureDataset(fine, rebin=REBIN), FeatureDataset(coarse)
    for item in range(len(wanted)):
        (frames, label), (wanted_frames, wanted_label) = found[item], wanted[item]
        assert frames.dtype == wanted_frames.dtype
        assert np.array_equal(frames, wanted_frames)
        assert label == wanted_label
    again = pickle.loads(pickle.dumps(RebinnedSet(fine, REBIN)))  # noqa: S301 our own bytes
    for name in ("nnz", "n_bins", "n_dropped", "n_events", "speaker"):
        assert np.array_equal(found.column(name), wanted.column(name)), name
        assert np.array_equal(again.column(name), coarse.column(name)), name


def test_an_event_that_the_fine_set_lacks_is_reported(folder: Any, caplog: pytest.LogCaptureFixture) -> None:
    fine = build(make_source("SSC", "train", folder / "edge"), FINE, folder / "edge/store")
    FeatureLoader(fine, 4, rebin=(5, 7))
    assert "lack" not in caplog.text  # the coarse bins end there, too
    caplog.clear()
    FeatureLoader(fine, 4, rebin=(4, 7))
    (message,) = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert (
        "with rebin=(4, 7): 1 of 4 samples may lack events. The time bins of the stored set leave out 1 event, which longer bins may contain"
        in message
    )


def test_another_rebin_is_another_loader(sets: tuple[FeatureSet, FeatureSet]) -> None:
    fine, _ = sets
    state = FeatureLoader(fine, 32, rebin=(2, 7)).state_dict()
    with pytest.raises(UsageError, match="digest"):
        FeatureLoader(fine, 32, rebin=REBIN).load_state_dict(state)


@pytest.mark.parametrize(
    ("what", "rebin", "message"),
    [
        (
            None,
            4,
            r"rebin must be two numbers, the time bins and the channels to sum, such as \(4, 7\), got 4",
        ),
        (None, {4, 7}, r"rebin must be two numbers, .* got \{"),  # a set has no order
        (None, (4, 0), "rebin must be a whole number of at least 1, got 0"),
        (None, (4, 701), "it has only 700 channels"),
        (transform(700, 1, clip=1), REBIN, "its counts are limited by clip_counts"),
        (transform(700, 1, overlap=500.0), REBIN, "its time bins overlap"),
        (transform(700, 0.5005), REBIN, "its bins do not begin at whole microseconds"),
    ],
)
def test_refusals(folder: Any, sets: Any, what: Transform | None, rebin: Any, message: str) -> None:
    fine = sets[0] if what is None else build(make_source("SSC", "train", folder), what, folder / "store")
    with pytest.raises(UsageError, match=message):
        FeatureLoader(fine, 4, rebin=rebin)
