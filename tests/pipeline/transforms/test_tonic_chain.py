"""NumpyChain and TonicChain return Tonic's frames for every valid recording."""

from __future__ import annotations

from typing import Any
from unittest import mock

import numpy as np
from hypothesis import event, given, settings
from tests.hypothesis_profiles import examples
from tests.pipeline.tonic_cases import NAME, BothChains, assert_same, dense, legal_cases, recording, slices
from tonic import transforms

from spikestore.pipeline.readers.recording import Events
from spikestore.pipeline.transforms import frame_counts, tonic_chain
from spikestore.pipeline.transforms.from_tonic import transform_from_tonic
from spikestore.pipeline.transforms.numpy_chain import NumpyChain
from spikestore.pipeline.transforms.tonic_chain import TonicChain
from spikestore.store_schemas.specs.operations import ToFrame


@settings(max_examples=examples(400))
@given(legal_cases())
def test_every_legal_recording_results_in_tonics_frames(
    case: tuple[list[Any], Events],
) -> None:
    parts, events = case
    spec = transform_from_tonic(transforms.Compose(parts))
    has_y = "y" in (events.dtype.names or ())
    before = events.tobytes()
    sample = BothChains(spec, has_y=has_y)(events, name=NAME)
    with mock.patch.object(tonic_chain, "DENSE_LIMIT", -1), mock.patch.object(frame_counts, "_BLOCK", 3):
        for chain in (NumpyChain, TonicChain):
            assert_same(chain(spec, has_y=has_y)(events, name=NAME), sample)
    assert events.tobytes() == before

    now = events.copy()
    with np.errstate(all="ignore"):
        for part in parts[:-1]:
            now = part(now)
    sites = spec.sites(has_y=has_y)
    assert (sample.n_events, sample.n_cropped) == (len(events), len(events) - len(now))
    assert sample.index.dtype == sample.value.dtype == np.int64
    assert isinstance(spec.to_frame, ToFrame)
    event(f"{spec.to_frame.mode}, {'some' if len(now) else 'no'} events left")
    if len(now) == 0:
        assert (len(sample.index), sample.n_dropped) == (0, 0)
        return
    with np.errstate(all="ignore"):
        frames = parts[-1](now.copy())
        numbered = np.zeros(len(now), [*now.dtype.descr, ("number", "i8")])
        for field in now.dtype.names or ():
            numbered[field] = now[field]
        numbered["number"] = np.arange(len(now))
        binned = {int(n) for piece in slices(parts[-1], numbered) for n in piece["number"]}
    assert frames.shape == (sample.n_bins, *sites)
    np.testing.assert_array_equal(sample.index, np.flatnonzero(frames))
    np.testing.assert_array_equal(sample.value, frames.reshape(-1)[sample.index])
    assert sample.n_dropped == len(now) - len(binned)


def test_the_seeds_transform_on_speech_like_events() -> None:
    """100 of 700 channels, 4 ms, at most 1 s: the seed's Compose, as in the post."""
    compose = transforms.Compose([
        transforms.Downsample(spatial_factor=100 / 700),
        transforms.CropTime(max=1e6),
        transforms.ToFrame(sensor_size=(100, 1, 1), time_window=4000, include_incomplete=True),
    ])  # fmt: skip
    spec = transform_from_tonic(compose)
    random = np.random.default_rng(3)
    for n in (1, 2, 8000):
        seconds = np.sort(random.uniform(0, 1.2, n)).astype(np.float16)
        events = recording((seconds.astype(np.float64) * 1e6).astype(int), random.integers(0, 700, n))
        sample = BothChains(spec, has_y=False)(events, name=NAME)
        frames = compose(events.copy())
        np.testing.assert_array_equal(dense(sample, 1, 100), frames)
