"""Sequences from the bytes of a file: what h5py reads, or None, or an error; never anything else."""

from __future__ import annotations

import os
import random
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.pipeline.cochlea_files import draw, write_file

from spikestore.pipeline.readers import heap_kernels, vlen_heap
from spikestore.pipeline.readers.cochlea import CochleaReader
from spikestore.pipeline.readers.sequences import Sequences, read_sequences
from spikestore.pipeline.readers.vlen_heap import VlenHeap
from spikestore.store_schemas.errors import LayoutError, SourceChangedError

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
        heap = VlenHeap(*datasets)
        for start, stop in ranges or [(0, len(datasets[0]))]:
            assert_same(heap.read(start, stop), [read_sequences(one, start, stop) for one in datasets])


# ------------------------------------------------------------------------------------- as h5py reads it


@given(
    lengths=st.lists(st.integers(0, 40) | st.sampled_from([2000, 3000]), min_size=1, max_size=20),
    chunks=st.sampled_from([None, (1,), (5,), (64,)]),
    data=st.data(),
)
@settings(max_examples=40)
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


def write_vlen(path: Path, rows: list[int], element: Any = "u2", longest: int = 50, **options: Any) -> Path:
    """Two datasets, written row by row in the order of `rows`."""
    rng = np.random.default_rng(0)
    with h5py.File(path, "w", **options) as file:
        made = [file.create_dataset(name, (len(rows),), h5py.vlen_dtype(element)) for name in NAMES]
        for row in rows:
            for one in made:
                one[row] = rng.integers(0, 100, rng.integers(0, longest)).astype(element)
    return path


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
    assert_as_h5py(path)
    assert count < 1.1 * path.stat().st_size


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
    """The descriptor may be another file's by then."""
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


# ------------------------------------------------------------------------------------- damage


def places(path: Path) -> tuple[list[int], list[int]]:
    """Return where descriptors and collections start."""
    with opened(path) as datasets:
        descriptors = [one.id.get_offset() for one in datasets]
    data, heads = path.read_bytes(), []
    at = data.find(b"GCOL")
    while at >= 0:
        heads.append(at)
        at = data.find(b"GCOL", at + 1)
    return descriptors, heads


def damaged(path: Path, at: int, data: bytes) -> Path:
    with path.open("r+b") as raw:
        raw.seek(at)
        raw.write(data)
    return path


WORD = 8
DAMAGES: dict[str, tuple[int | None, int, bytes]] = {
    # place in the second descriptor (None: in the first collection), bytes
    "longer": (1, 0, b"\x7f"),
    "longer than the file": (1, 3, b"\x7f"),
    "shorter": (1, 0, b"\x01"),
    "address": (1, 4, b"\x01"),
    "address behind the end": (1, 9, b"\x7f"),
    "address undefined": (1, 4, b"\xff" * 8),
    "no such number": (1, 12, b"\xff\xff"),
    "number beyond 16 bits": (1, 14, b"\x01"),
    "number 0": (1, 12, b"\0\0"),
    "signature": (None, 1, b"X"),
    "collection larger than the file": (None, 14, b"\x01"),
    "collection beyond int64": (None, 15, b"\xff"),
    "collection too small": (None, 8, (64).to_bytes(8, "little")),
    "number of another": (None, 16, b"\x02"),
    "object beyond the collection": (None, 25, b"\xff"),
    "object that overflows int64": (None, 24, b"\xff" * 7 + b"\x7f"),
    "object beyond int64": (None, 31, b"\xff"),
    "free space without a size": (None, 16, bytes(16)),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damage_is_an_error(tmp_path: Path, damage: tuple[int | None, int, bytes]) -> None:
    path = write_file(tmp_path / "ssc_train.h5", [*draw(9, seed=3)[1:], *draw(9, seed=4)[1:]])
    (first, _), heads = places(path)
    damaged(path, (heads[0] if damage[0] is None else first + 16) + damage[1], damage[2])
    with opened(path) as datasets, pytest.raises(OSError, match=r"heap collection|file"):
        VlenHeap(*datasets).read(0, 16)
    with CochleaReader(path) as reader, pytest.raises(LayoutError, match=r"damaged or truncated .*download"):
        reader.read_block(0, 16)


def free_space(path: Path) -> tuple[int, int]:
    """Return where the first collection starts, and how far into it its free space does."""
    data, head = path.read_bytes(), places(path)[1][0]
    at = 16
    while data[head + at : head + at + 2] != b"\0\0":
        at += 16 + -(-int.from_bytes(data[head + at + 8 : head + at + 16], "little") // 8) * 8
    return head, at


def test_a_collection_smaller_than_any_is_damage(tmp_path: Path) -> None:
    path = write_file(tmp_path / "a.h5", draw(9))
    head, end = free_space(path)
    with (
        opened(damaged(path, head + 8, end.to_bytes(8, "little"))) as datasets,
        pytest.raises(OSError, match="is damaged"),
    ):
        VlenHeap(*datasets).read(0, 9)


@pytest.mark.parametrize("change", [{0: 4}, {0: 2}, {0: 8}, {0: 24, 1: 2}, {1: -2}, {1: -8}, {0: 4, 1: 4}])
def test_free_space_that_hdf5_would_not_have_written(tmp_path: Path, change: dict[int, int]) -> None:
    """More, less, or unaligned: by how much the sizes of collection (0) and free space (1) are wrong."""
    path = write_file(tmp_path / "a.h5", draw(9))
    head, at = free_space(path)
    for which, by in change.items():
        place = head + (8, at + 8)[which]
        size = int.from_bytes(path.read_bytes()[place : place + 8], "little") + by
        damaged(path, place, size.to_bytes(8, "little"))
    with opened(path) as datasets, pytest.raises(OSError, match="is damaged"):
        VlenHeap(*datasets).read(0, 9)


def test_free_space_in_two_places_is_damage(tmp_path: Path) -> None:
    path = write_file(tmp_path / "a.h5", draw(9))
    head, at = free_space(path)
    size = int.from_bytes(path.read_bytes()[head + at + 8 : head + at + 16], "little")
    damaged(path, head + at + 8, (size - 24).to_bytes(8, "little"))
    damaged(path, head + at + size - 24, bytes(8) + (24).to_bytes(8, "little"))
    with opened(path) as datasets, pytest.raises(OSError, match="is damaged"):
        VlenHeap(*datasets).read(0, 9)


@pytest.mark.parametrize("size", [b"", (2**63 - 1).to_bytes(8, "little"), (2**64 - 1).to_bytes(8, "little")])
def test_an_object_that_nobody_asked_for_may_not_reach_beyond_the_end(tmp_path: Path, size: bytes) -> None:
    """Without `size`, free space whose size holds its own head becomes an object, whose size does not."""
    path = write_file(tmp_path / "a.h5", draw(9))
    head, at = free_space(path)
    damaged(path, head + at, b"\xff\xff")
    damaged(path, head + at + 8, size)
    with opened(path) as datasets, pytest.raises(OSError, match="is damaged"):
        VlenHeap(*datasets).read(0, 9)


def test_what_an_earlier_collection_held_is_forgotten(tmp_path: Path) -> None:
    path = write_file(tmp_path / "a.h5", draw(9))
    whole = np.frombuffer(path.read_bytes(), np.uint8)
    head = places(path)[1][0]
    size = whole[head + 24 : head + 32].view("<i8").astype(np.int64)
    seen, where = np.zeros((2, heap_kernels.NUMBERS), np.int64)
    one, out = np.array([head]), np.zeros(int(size[0]), np.uint8)
    for number, status in ((1, heap_kernels.DONE), (60000, heap_kernels.DAMAGED)):
        where[number] = head + 16
        arguments = (0, len(whole), one, one * 0 + number, size, one * 0, out, 0, seen, where)
        assert heap_kernels.copy_objects(whole, *arguments)[0] == status


def test_of_two_objects_with_one_number_the_last_counts(tmp_path: Path) -> None:
    path = write_file(tmp_path / "a.h5", [(np.full(4, i, "f2"), np.full(4, i, "u2")) for i in range(9)])
    assert_as_h5py(damaged(path, places(path)[1][0] + 16, b"\x02"), (1, 9))
    assert_as_h5py(damaged(path, places(path)[1][0] + 16 + 24, b"\x04"), (3, 9))


def test_another_version_of_collections_is_left_to_h5py(tmp_path: Path) -> None:
    path = write_file(tmp_path / "a.h5", draw(9))
    damaged(path, places(path)[1][0] + 4, b"\x02")
    with opened(path) as datasets:
        assert VlenHeap(*datasets).read(0, 9) is None


def test_an_empty_sequence_with_a_length_is_left_to_h5py(tmp_path: Path) -> None:
    path = write_file(tmp_path / "a.h5", draw(9))
    damaged(path, places(path)[0][0], b"\x05")
    with opened(path) as datasets:
        assert VlenHeap(*datasets).read(0, 9) is None
        assert read_sequences(datasets[0], 0, 9).lengths[0] == 0


@pytest.mark.parametrize("compiled", [True, False])
def test_random_damage(tmp_path: Path, compiled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same as h5py, or None, or an error; in plain Python, whatever reads out of bounds would raise.

    h5py is asked only where there is a result to compare: it never returns from some of these files.
    """
    if not compiled:
        monkeypatch.setattr(heap_kernels, "_size", heap_kernels._size.py_func)
        monkeypatch.setattr(heap_kernels, "_walk", heap_kernels._walk.py_func)
        monkeypatch.setattr(heap_kernels, "copy_objects", heap_kernels.copy_objects.py_func)
    rng = random.Random(5)  # noqa: S311
    path = write_file(tmp_path / "a.h5", draw(25, longest=40))
    good = path.read_bytes()
    descriptors, heads = places(path)
    seen: Counter[str] = Counter()
    for _ in range(300 if compiled else 60):
        data = bytearray(good)
        for _ in range(rng.choice([1, 1, 2, 5])):
            spots = [(rng.choice(descriptors), 400), (rng.choice(heads), 64), (rng.choice(heads), 4096)]
            start, length = rng.choice(spots)
            at = min(start + rng.randrange(length), len(data) - 1)
            data[at] = rng.choice([data[at] ^ 1 << rng.randrange(8), 0, 255, rng.randrange(256)])
        path.write_bytes(data)
        with opened(path) as datasets:
            try:
                found = VlenHeap(*datasets).read(0, 25)
            except OSError:
                seen["error"] += 1
                continue
            seen["left" if found is None else "same"] += 1
            if found is not None:
                assert_same(found, [read_sequences(one, 0, 25) for one in datasets])
    assert min(seen["error"], seen["same"]) > 10


def test_no_byte_outside_the_window_is_asked_for(tmp_path: Path) -> None:
    """However little of a collection is there, the loop asks for more and copies nothing."""
    path = write_file(tmp_path / "a.h5", draw(5))
    whole = np.frombuffer(path.read_bytes(), np.uint8)
    head = places(path)[1][0]
    scratch = np.zeros((2, heap_kernels.NUMBERS), np.int64)
    one: npt.NDArray[np.int64] = np.array([head])
    for length in (0, 1, 15, 16, 17, 4095):
        out = np.full(64, 7, np.uint8)
        arguments = (head, len(whole), one, one * 0 + 1, one * 0 + 8, one * 0, out, 0, *scratch)
        answer = heap_kernels.copy_objects(whole[head : head + length], *arguments)
        assert answer == (heap_kernels.NEED, 0, 16 if length < 16 else 4096)
        assert (out == 7).all()


def test_free_space_is_no_object_and_nothing_lies_before_the_window(tmp_path: Path) -> None:
    """Number 0 would else find a head in the collection's own, and copy from behind the window."""
    path = write_file(tmp_path / "a.h5", draw(5))
    whole = np.frombuffer(path.read_bytes(), np.uint8)
    head = places(path)[1][0]
    scratch = np.zeros((2, heap_kernels.NUMBERS), np.int64)
    one, out = np.array([head]), np.zeros(4096, np.uint8)
    arguments = (len(whole), one, one * 0, one * 0 + 4096, one * 0, out, 0, *scratch)
    window = whole[head : head + 4096]
    assert heap_kernels.copy_objects(window, head, *arguments)[0] == heap_kernels.DAMAGED
    assert heap_kernels.copy_objects(window, head + 8, *arguments) == (heap_kernels.NEED, 0, 16)


def test_no_memory_is_taken_for_more_than_the_file_holds(tmp_path: Path) -> None:
    path = write_file(tmp_path / "a.h5", draw(9))
    damaged(path, places(path)[0][0] + 16 + 3, b"\x7f")
    with (
        opened(path) as datasets,
        pytest.raises(OSError, match="sequences 0 to 8 would be larger than the file"),
    ):
        VlenHeap(*datasets).read(0, 9)


@pytest.mark.parametrize("address", [b"\xff" * 8, (2**62).to_bytes(8, "little")])
def test_addresses_beyond_the_file_are_never_looked_at(tmp_path: Path, address: bytes) -> None:
    path = write_file(tmp_path / "a.h5", draw(9))
    damaged(path, places(path)[0][0] + 16 + 4, address)
    with opened(path) as datasets, pytest.raises(OSError, match="behind the end of the file"):
        VlenHeap(*datasets).read(0, 9)


# ------------------------------------------------------------------------------------- changes


def shrink(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def grow(path: Path) -> None:
    with path.open("ab") as raw:
        raw.write(b"x")


def rewrite(path: Path) -> None:
    with path.open("r+b") as raw:
        raw.write(raw.read(1)[:0])
    os.utime(path, ns=(0, 0))


def replace(path: Path) -> None:
    status = path.stat()
    (other := path.with_name("other")).write_bytes(path.read_bytes())
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(path)


CHANGES = {"shrank from": shrink, "grew from": grow, "was written to": rewrite, "or replaced": replace}


@pytest.mark.parametrize(("message", "change"), CHANGES.items(), ids=CHANGES)
@pytest.mark.parametrize("moment", ["before", "first", "second"])
@pytest.mark.parametrize("method", ["read", "read_block"])
def test_a_file_that_changes_in_mid_read_is_an_error(
    tmp_path: Path,
    message: str,
    change: Callable[[Path], None],
    moment: str,
    method: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = write_file(tmp_path / "a.h5", draw(40, longest=4000))
    monkeypatch.setattr(vlen_heap, "_WINDOW", 2**14)
    with CochleaReader(path) as reader:
        calls = 0
        owner: Any = os if method == "read_block" else h5py.Dataset
        name = "preadv" if method == "read_block" else "__getitem__"
        original = getattr(owner, name)

        def changed(*args: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls != ("before", "first", "second").index(moment):
                return original(*args)
            if method == "read_block":
                change(path)
                return original(*args)
            found = original(
                *args
            )  # not after the change: h5py may never return from the zeros that it reads then
            change(path)
            return found

        if moment == "before":
            change(path)
        else:
            monkeypatch.setattr(owner, name, changed)
        with pytest.raises(SourceChangedError, match=message):
            getattr(reader, method)(0, 40)
        assert calls >= (moment != "before")


@pytest.mark.parametrize("change", [shrink, grow])
def test_another_size_is_noticed_before_anything_is_read(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    path = write_file(tmp_path / "a.h5", draw(9))
    with opened(path) as datasets:
        heap = VlenHeap(*datasets)
        change(path)
        with pytest.raises(OSError, match="changed its size"):
            heap.read(0, 9)


def test_a_file_that_is_deleted_is_an_error(tmp_path: Path) -> None:
    path = write_file(tmp_path / "a.h5", draw(4))
    with CochleaReader(path) as reader:
        path.unlink()
        with pytest.raises(SourceChangedError, match="can't be looked at any more"):
            reader.read_block(0, 4)
