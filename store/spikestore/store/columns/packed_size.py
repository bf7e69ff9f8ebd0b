"""Size of a set in memory, where ``index`` and ``value`` have the narrowest dtypes that can hold their values."""

from __future__ import annotations

from typing import Any

import numpy as np

from spikestore.store_schemas.documents.manifest import Manifest
from spikestore.store_schemas.layout import BLOCK
from spikestore.store_schemas.specs.column_values import array_of

WINDOW_SAMPLES = 8192
WINDOW_BYTES = 256 * 2**20


def narrow_dtypes(manifest: Manifest) -> tuple[np.dtype[Any], np.dtype[Any]]:
    """Return the narrowest dtypes that hold all numbers of the columns ``index`` and ``value``."""
    if manifest.layout.dtype("value").kind == "f":
        return dtypes_for(manifest.max_index, 0)[0], np.dtype(np.float32)
    return dtypes_for(manifest.max_index, int(manifest.max_value))


def dtypes_for(max_index: int, max_value: int) -> tuple[np.dtype[Any], np.dtype[Any]]:
    """Return the dtypes for indices (uint16, uint32 or int64) and whole values (uint8, uint16 or uint32) up to these numbers."""
    return _narrowest(max_index, (np.uint16, np.uint32, np.int64)), _narrowest(
        max_value, (np.uint8, np.uint16, np.uint32)
    )


def packed_bytes(manifest: Manifest) -> int:
    """Return the number of bytes of a whole set in memory, computed from its manifest."""
    index, value = narrow_dtypes(manifest)
    extras = sum(manifest.layout.dtype(name).itemsize for name in manifest.layout.extras)
    extras += sum(array_of(values).itemsize for values in manifest.source_columns.values())
    per_sample = 8 + 4 + 8 + 8 + extras  # offsets, n_bins, label, rows
    return manifest.nnz * (index.itemsize + value.itemsize) + (manifest.samples + 1) * per_sample


def default_window(manifest: Manifest) -> int:
    """Return the number of samples among which a streamed epoch shuffles.

    The number is as large as `WINDOW_BYTES` of packed samples allow, but at least one block (64) and at most `WINDOW_SAMPLES`.
    """
    held = int(WINDOW_BYTES / (packed_bytes(manifest) / manifest.samples))
    return max(BLOCK, min(WINDOW_SAMPLES, held))


def _narrowest(largest: int, candidates: tuple[type[np.integer[Any]], ...]) -> np.dtype[Any]:
    return np.dtype(next(dtype for dtype in candidates if largest <= np.iinfo(dtype).max))
