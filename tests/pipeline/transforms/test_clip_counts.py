"""clip_counts limits the counts of frames and changes nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spikestore.pipeline.transforms.tonic_chain import TonicChain
from spikestore.store_schemas import ClipCounts, CropTime, ToFrame, Transform
from spikestore.store_schemas.errors import SpecError

FRAME = ToFrame(sensor_size=(4, 1, 1), time_window=10.0, include_incomplete=True)
DTYPE = np.dtype([("t", int), ("x", int), ("p", int)])


@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(0, 3)), min_size=1, max_size=200), st.integers(1, 9)
)
def test_clip_counts_equals_clip_of_the_frames(events: list[tuple[int, int]], largest: int) -> None:
    """Clipped counts are those of frames.clip(max=…); places, bins and losses stay the same."""
    recording = np.array(sorted((t, x, 1) for t, x in events), DTYPE)
    plain = TonicChain(Transform(operations=(FRAME,)), has_y=False)(recording, name="r")
    clipped = TonicChain(Transform(operations=(FRAME, ClipCounts(max=largest))), has_y=False)(
        recording, name="r"
    )
    assert np.array_equal(clipped.value, plain.value.clip(max=largest))
    assert np.array_equal(clipped.index, plain.index)
    assert (clipped.n_bins, clipped.n_dropped) == (plain.n_bins, plain.n_dropped)


def test_comes_after_to_frame_and_once() -> None:
    """In another place, or twice, it is rejected."""
    clip = ClipCounts(max=1)
    for chain in ((clip, FRAME), (FRAME, clip, clip), (FRAME, CropTime(max=1.0)), (clip,)):
        with pytest.raises(SpecError, match="must have exactly one operation"):
            Transform(operations=chain)
    assert Transform(operations=(FRAME, clip)).key != Transform(operations=(FRAME,)).key
