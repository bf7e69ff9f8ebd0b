"""Writes HDF5 files with variable-length sequences, and compares our results with those of h5py."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from spikestore.pipeline.readers.cochlea_files.sequences import Sequences, read_sequences
from spikestore.pipeline.readers.cochlea_files.vlen_heap import VlenHeap

NAMES = ("spikes/times", "spikes/units")
Damage = Callable[[bytearray], None]


@contextmanager
def opened(path: Path, **options: Any) -> Iterator[list[Any]]:
    with h5py.File(path, options.pop("mode", "r"), **options) as file:
        yield [file[name] for name in NAMES]


def assert_same(found: list[Sequences] | None, expected: list[Sequences]) -> None:
    assert found is not None
    for one, other in zip(found, expected, strict=True):
        assert one.values.dtype == other.values.dtype
        np.testing.assert_array_equal(one.lengths, other.lengths)
        assert one.values.tobytes() == other.values.tobytes()
        assert one.values.flags.aligned


def assert_as_h5py(path: Path, *ranges: tuple[int, int]) -> None:
    with opened(path) as datasets:
        heaps = [VlenHeap(*datasets), VlenHeap(*datasets, few_events=True)]
        for start, stop in ranges or [(0, len(datasets[0]))]:
            expected = [read_sequences(one, start, stop) for one in datasets]
            for heap in heaps:
                assert_same(heap.read(start, stop), expected)


def write_vlen(path: Path, rows: list[int], element: Any = "u2", longest: int = 50, **options: Any) -> Path:
    """Write two datasets, row by row in the order of `rows`."""
    rng = np.random.default_rng(0)
    with h5py.File(path, "w", **options) as file:
        made = [file.create_dataset(name, (len(rows),), h5py.vlen_dtype(element)) for name in NAMES]
        for row in rows:
            for one in made:
                one[row] = rng.integers(0, 100, rng.integers(0, longest)).astype(element)
    return path
