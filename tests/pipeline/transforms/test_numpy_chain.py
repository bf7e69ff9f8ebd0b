"""NumpyChain returns the same samples and the same error messages as TonicChain for any recording."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from tests.hypothesis_profiles import examples
from tests.pipeline.tonic_cases import NAME, BothChains, legal_cases
from tonic import transforms

from spikestore.pipeline.readers.recording import Events
from spikestore.pipeline.transforms.from_tonic import transform_from_tonic
from spikestore.store_schemas.errors import RecordingError, UsageError
from spikestore.store_schemas.specs.operations import ToFrame

_WILD = st.one_of(
    st.sampled_from(
        [-1, 0, 1, 255, 2**15, 2**31, 2**53, 2**62, 2**63 - 1, -(2**63), 1e300, float("nan"), float("inf")]
    ),
    st.integers(-10, 100),
)


@pytest.mark.parametrize("include_incomplete", [False, True])
def test_the_number_of_bins_is_rounded_as_times_are(include_incomplete: bool) -> None:
    """In float16, 32768 + 1 is 32768: Tonic's number of bins follows from it, and the last event is in no bin."""
    events = np.array([(0, 0, 0), (32768, 0, 0)], [("t", "<f2"), ("x", "<u2"), ("p", "<i8")])
    part = transforms.ToFrame(sensor_size=(1, 1, 1), time_window=1, include_incomplete=include_incomplete)
    sample = BothChains(transform_from_tonic(transforms.Compose([part])), has_y=False)(events, name=NAME)
    assert sample.n_bins == len(part(events)) == 32768
    assert (sample.index.tolist(), sample.n_dropped) == ([0], 1)


@settings(max_examples=examples(400))
@given(legal_cases(), st.data())
def test_every_recording_results_in_tonics_sample_or_an_error(
    case: tuple[list[Any], Events], data: st.DataObject
) -> None:
    """A legal recording, of which some values are changed, in every mode of frames, sorted or not."""
    parts, events = case
    fields = events.dtype.names or ()
    spec = transform_from_tonic(transforms.Compose(parts)).model_copy(
        update={"max_bins": data.draw(st.sampled_from([10**6, 20]))}
    )
    for _ in range(data.draw(st.integers(0, 3)) if len(events) else 0):
        place = data.draw(st.integers(0, len(events) - 1))
        field, value = data.draw(st.sampled_from(fields)), data.draw(_WILD)
        with np.errstate(all="ignore"):
            events[field][place] = np.float64(value).astype(events.dtype[field])
    if data.draw(st.integers(0, 5)) == 0:
        events = events[data.draw(st.permutations(range(len(events))))]
    assert isinstance(spec.to_frame, ToFrame)
    mode = spec.to_frame.mode
    try:
        sample = BothChains(spec, has_y="y" in fields)(events, name=NAME, sort=data.draw(st.booleans()))
    except UsageError:
        event(f"{mode}, fits no recording")
    except RecordingError as error:
        event(
            f"{mode}, refused: {error.details.get('field', 'bins')}"
        )  # BothChains has compared the messages
    else:
        event(f"{mode}, {'some' if len(sample.index) else 'no'} counts")
