"""The choice of an executor; all executors return the same samples and errors for a block."""

from __future__ import annotations

import numpy as np
import pytest
from tests.pipeline.fused_cases import TABLE, block_of, name_of
from tests.pipeline.tonic_cases import recording

from spikestore.pipeline.readers.event_block import NO_TIME
from spikestore.pipeline.transforms.choose import OneByOne, block_chain, executor_for
from spikestore.pipeline.transforms.numpy_chain import NumpyChain
from spikestore.pipeline.transforms.tonic_chain import TonicChain
from spikestore.store_schemas.errors import UsageError
from spikestore.store_schemas.specs.operations import ToFrame
from spikestore.store_schemas.specs.transform import ExecutorName, Transform

BY_TIME = Transform(operations=(ToFrame(sensor_size=(2, 1, 1), time_window=10.0),))
BY_COUNT = Transform(operations=(ToFrame(sensor_size=(2, 1, 1), event_count=2),))


@pytest.mark.parametrize(
    ("transform", "requested", "expected"),
    [
        (BY_TIME, "auto", "fused"),
        (BY_TIME, "fused", "fused"),
        (BY_TIME, "tonic", "tonic"),
        (BY_COUNT, "auto", "numpy"),
        (BY_COUNT, "tonic", "tonic"),
    ],
)
def test_who_runs_a_transform(transform: Transform, requested: ExecutorName, expected: str) -> None:
    assert executor_for(transform, requested, has_y=False) == expected


@pytest.mark.parametrize(
    ("requested", "expected"),
    [("auto", "numpy"), ("numpy", "numpy"), ("fused", "fused"), ("tonic", "tonic")],
)
def test_few_events_do_without_compiled_code(requested: ExecutorName, expected: str) -> None:
    """For few events, compiled code is used only on request; a chosen executor is not changed later."""
    chosen = executor_for(BY_TIME, requested, has_y=False, few_events=True)
    assert chosen == expected
    assert executor_for(BY_TIME, chosen, has_y=False) == chosen


def test_transforms_that_the_fused_pass_does_not_support_are_wrong_use() -> None:
    with pytest.raises(UsageError, match="got event_count: omit executor"):
        executor_for(BY_COUNT, "fused", has_y=False)


@pytest.mark.parametrize("kind", [NumpyChain, TonicChain])
def test_a_code_of_no_time_is_named_by_every_executor(kind: type[NumpyChain]) -> None:
    """The fused pass has the same message, which does not mention the code's entry in the table, -2^63."""
    code = int(np.flatnonzero(TABLE == NO_TIME)[0])
    codes = np.array([0, 1, code], np.uint16)
    block = block_of([recording([0, 1, 2])], t=codes, time_table=TABLE, p=None)
    chains = [OneByOne(kind(BY_TIME, has_y=False)), block_chain(BY_TIME, "fused", has_y=False)]
    for chain in chains:
        (error,) = chain(block, name_of=name_of).errors.values()
        assert str(error) == "recording 0 of ssc_train.h5, event 2: t is not a time"
