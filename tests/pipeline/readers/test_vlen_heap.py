"""Sequences from the bytes of a file: the values that h5py reads, or None; never anything else."""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.hypothesis_profiles import examples
from tests.pipeline.cochlea_files import draw, write_file
from tests.pipeline.heap_files import NAMES, Damage, assert_as_h5py, opened, write_vlen

from spikestore.pipeline.readers.cochlea_files import vlen_heap
from spikestore.pipeline.readers.cochlea_files.cochlea import CochleaReader
from spikestore.pipeline.readers.cochlea_files.sequences import read_sequences
from spikestore.pipeline.readers.cochlea_files.vlen_heap import VlenHeap

# ------------------------------------------------------------------------------------- values that h5py reads


@given(
    lengths=st.lists(st.integers(0, 40) | st.sampled_from([2000, 3000]), min_size=1, max_size=20),
    chunks=st.sampled_from([None, (1,), (5,), (64,)]),
    data=st.data(),
)
@settings(max_examples=examples(40))
def test_any_lengths_are_read_as_h5py_reads_them(
    lengths: list[int], chunks: tuple[int] | None, data: st.DataObject
) -> None:
    rng = np.random.default_rng(len(lengths))
    recordings = [(rng.random(n).astype("f2"), rng.integers(0, 700, n).astype("u2")) for n in lengths]
    start = data.draw(st.integers(0, len(lengths)))
    stop = data.draw(st.integers(start, len(lengths)))
    with tempfile.TemporaryDirectory() as name:
        options: dict[str, Any] = {"chunks": chunks, "maxshape": (None,)} if chunks else {}
        path = write_file(Path(name) / "a.h5", recordings, **options)
        assert_as_h5py(path, (0, len(lengths)), (start, stop))


@pytest.mark.parametrize("libver", ["earliest", ("earliest", "v108"), "v110", "v112", "v114", "latest"])
@pytest.mark.parametrize("element", ["u1", "<u2", "<i4", "<f2", "<f4", "<f8"])
def test_file_versions_and_types(tmp_path: Path, libver: Any, element: str) -> None:
    assert_as_h5py(write_vlen(tmp_path / "a.h5", list(range(30)), element, libver=libver))


def test_columns_of_different_types_are_aligned(tmp_path: Path) -> None:
    recordings = [(np.zeros(n, "f2"), np.zeros(n, "u8")) for n in (1, 0, 2)]
    assert_as_h5py(write_file(tmp_path / "a.h5", recordings, units_type="u8"))


def test_any_order_in_the_file_and_windows_of_any_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = list(range(60))
    random.Random(1).shuffle(rows)  # noqa: S311
    path = write_vlen(tmp_path / "a.h5", rows, longest=6000)
    for window in (16, 4096, 5000, 2**16, 2**22):
        monkeypatch.setattr(vlen_heap, "_WINDOW", window)
        assert_as_h5py(path, (0, 60), (7, 8), (20, 50))


def test_the_file_is_read_about_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_vlen(tmp_path / "a.h5", list(range(400)), longest=4000)
    count = 0
    original = os.preadv

    def counted(*args: Any) -> int:
        nonlocal count
        count += (found := original(*args))
        return found

    monkeypatch.setattr(os, "preadv", counted)
    assert_as_h5py(path)  # once compiled, once in Python
    assert count < 2 * 1.1 * path.stat().st_size


def test_h5py_reads_no_sequence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_file(tmp_path / "a.h5", draw(21))
    with CochleaReader(path) as reader:
        expected = reader.read_block(0, 21)
        monkeypatch.setattr(h5py.Dataset, "__getitem__", None)
        np.testing.assert_array_equal(reader.read_block(0, 21).t, expected.t)


# ------------------------------------------------------------------------------------- left to h5py


def with_page_strategy(path: Path) -> None:
    write_vlen(path, list(range(9)), fs_strategy="page", fs_page_size=4096)


def with_short_integers(path: Path) -> None:
    kind = h5py.h5t.STD_U16LE.copy()
    kind.set_precision(10)
    with h5py.File(path, "w") as file:
        for name in NAMES:
            group, name = file.require_group("spikes"), name.split("/")[1]
            space = h5py.h5s.create_simple((9,))
            h5py.h5d.create(group.id, name.encode(), h5py.h5t.vlen_create(kind), space)
            group[name][...] = [np.arange(1000, 1000 + i, dtype="u2") for i in range(9)]


def never_written(chunks: Any) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        with h5py.File(path, "w") as file:
            for name in NAMES:
                made = file.create_dataset(name, (9,), h5py.vlen_dtype("u2"), chunks=chunks)
                if chunks:
                    made[4] = np.arange(3)

    return make


def written(**storage: Any) -> Callable[[Path], None]:
    return lambda path: void(write_file(path, draw(9), **storage))


def void(_: object) -> None:
    pass


UNUSUAL: dict[str, Callable[[Path], None]] = {
    "userblock": written(userblock=512),
    "gzip": written(chunks=(4,), compression="gzip"),
    "shuffle": written(chunks=(4,), shuffle=True),
    "big-endian": written(times_type=">f2"),
    "superblock extension": with_page_strategy,
    "fewer bits": with_short_integers,
    "never written": never_written(None),
    "chunk never written": never_written((2,)),
}


@pytest.mark.parametrize("make", UNUSUAL.values(), ids=UNUSUAL)
def test_unusual_files_are_left_to_h5py(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(path := tmp_path / "a.h5")
    with opened(path) as datasets:
        assert len(read_sequences(datasets[0], 0, 9).lengths) == 9
        assert VlenHeap(*datasets).read(0, 9) is None


@pytest.mark.parametrize("options", [{"driver": "core"}, {"driver": "stdio"}, {"mode": "r+"}])
def test_files_opened_in_other_ways_are_left_to_h5py(tmp_path: Path, options: dict[str, Any]) -> None:
    with opened(write_file(tmp_path / "a.h5", draw(9)), **options) as datasets:
        assert VlenHeap(*datasets).read(0, 9) is None


def test_after_close(tmp_path: Path) -> None:
    """After the file is closed, the descriptor may belong to another file."""
    with opened(write_file(tmp_path / "a.h5", draw(9))) as datasets:
        heap = VlenHeap(*datasets)
    assert heap.read(0, 9) is None


def at_superblock(at: int, value: int) -> Damage:
    return lambda data: data.__setitem__(at, value)


@pytest.mark.parametrize(
    ("at", "value"), [(0, 0), (8, 4), (13, 4), (14, 4), (24, 8), (31, 1), (48, 0), (47, 0x7F)]
)
def test_superblocks_that_are_not_understood(tmp_path: Path, at: int, value: int) -> None:
    path = write_file(tmp_path / "a.h5", draw(9))
    data = bytearray(path.read_bytes()[:96])
    assert vlen_heap._end(bytes(data)) == path.stat().st_size
    data[at] = value
    end = vlen_heap._end(bytes(data))
    assert end is None or end > path.stat().st_size
    assert vlen_heap._end(bytes(data[:95])) is None
