"""The window of a streamed epoch, for sets of small and of large samples."""

from __future__ import annotations

import pytest
from tests.store.small_sets import memory_storage, small_set

from spikestore.store.columns.packed_size import WINDOW_SAMPLES, default_window


@pytest.mark.parametrize(
    ("sample", "window"), [(1_000, WINDOW_SAMPLES), (10**5, 894), (10**7, 64), (10**9, 64)]
)
def test_the_window_has_at_least_a_block(sample: int, window: int) -> None:
    """Spans of less than a block are not read, so a report would state too little memory with a smaller window."""
    manifest = small_set().build(memory_storage()).manifest
    large = manifest.model_copy(update={"nnz": sample * manifest.samples, "max_index": 1, "max_value": 1.0})
    assert default_window(large) == window
