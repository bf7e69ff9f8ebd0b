"""A transform is a chain of operations that ends in frames."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from spikestore.store_schemas.errors import SpecError
from spikestore.store_schemas.specs.canonical import canonical_json
from spikestore.store_schemas.specs.operations import CropTime, Downsample, Operation, ToFrame
from spikestore.store_schemas.specs.transform import DEFAULT_MAX_BINS, Transform

FRAME = ToFrame(sensor_size=(4, 3, 2), time_window=1.0)


@pytest.mark.parametrize(
    "operations",
    [(Downsample(),), (FRAME, CropTime(max=1)), (FRAME, FRAME)],
    ids=["no frame", "frame first", "two"],
)
def test_exactly_one_to_frame_and_it_comes_last(operations: tuple[Operation, ...]) -> None:
    """No operation follows, and only frames can be stored."""
    with pytest.raises(SpecError, match="must have exactly one operation"):
        Transform(operations=operations)


@pytest.mark.parametrize(
    "mapping", [{}, {"operations": []}, {"operations": None}, {"operations": [{}], "max_bins": 0}]
)
def test_a_transform_needs_operations(mapping: dict[str, Any]) -> None:
    """An empty chain is an error, and so is a max_bins of 0."""
    with pytest.raises(SpecError, match="operations"):
        Transform.from_mapping(mapping, origin="test")


def test_sites_are_the_axes_after_time() -> None:
    """They are (polarity, y, x), or (polarity, x) for events without y, from Tonic's (x, y, p)."""
    transform = Transform(operations=(Downsample(), FRAME))
    assert transform.sites(has_y=True) == (2, 3, 4)
    assert transform.sites(has_y=False) == (2, 4)
    assert transform.to_frame is FRAME


def test_the_key_is_the_hash_of_the_key_document() -> None:
    """The key is the SHA-256 of RFC 8785 JSON, in hex."""
    transform = Transform(operations=(FRAME,))
    assert transform.max_bins == DEFAULT_MAX_BINS == 10**6
    expected = (
        '{"format":1,"max_bins":1000000,"operations":[{"end_time":null,"event_count":null,"include_incomplete":false,'
        '"n_event_bins":null,"n_time_bins":null,"op":"to_frame","overlap":0,"sensor_size":[4,3,2],'
        '"start_time":null,"time_window":1,"version":1}]}'
    )
    assert canonical_json(transform.key_document()).decode() == expected
    assert transform.key == hashlib.sha256(expected.encode()).hexdigest()
