"""Damaged and changing files: the values that h5py reads, None, or an error; never wrong data, never a crash."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pytest
from tests.pipeline.cochlea_files import draw, write_file
from tests.pipeline.heap_files import assert_as_h5py, assert_same, opened

from spikestore.pipeline.readers.cochlea_files import heap_kernels, heap_objects, vlen_heap
from spikestore.pipeline.readers.cochlea_files.cochlea import CochleaReader
from spikestore.pipeline.readers.cochlea_files.sequences import read_sequences
from spikestore.pipeline.readers.cochlea_files.vlen_heap import VlenHeap
from spikestore.store_schemas.errors import LayoutError, RecordingError, SourceChangedError

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
    # position in the second descriptor (None: in the first collection), bytes
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


@pytest.mark.parametrize("few_events", [False, True])
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damage_is_an_error(tmp_path: Path, damage: tuple[int | None, int, bytes], few_events: bool) -> None:
    path = write_file(tmp_path / "ssc_train.h5", [*draw(9, seed=3)[1:], *draw(9, seed=4)[1:]])
    (first, _), heads = places(path)
    damaged(path, (heads[0] if damage[0] is None else first + 16) + damage[1], damage[2])
    with opened(path) as datasets, pytest.raises(OSError, match=r"heap collection|file"):
        VlenHeap(*datasets, few_events=few_events).read(0, 16)
    # A descriptor belongs to one recording; a collection may have the sequences of all recordings.
    with CochleaReader(path) as reader:
        try:
            errors = reader.read_block(0, 16).errors
        except LayoutError as error:
            whole = str(error)
            assert "damaged or truncated" in whole
            assert "download" in whole
        else:
            assert 0 < len(errors) < 16
            assert all(
                "it can't be read (" in one.message and "download" in one.message for one in errors.values()
            )


def free_space(path: Path) -> tuple[int, int]:
    """Return the start of the first collection, and the offset of its free space."""
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
    """Sizes that are too large, too small or not aligned: `change` has the errors of the sizes of collection (0) and free space (1)."""
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


def test_objects_of_an_earlier_collection_are_not_used(tmp_path: Path) -> None:
    path = write_file(tmp_path / "a.h5", draw(9))
    whole = np.frombuffer(path.read_bytes(), np.uint8)
    head = places(path)[1][0]
    size = whole[head + 24 : head + 32].view("<i8").astype(np.int64)
    seen, where = np.zeros((2, heap_objects.NUMBERS), np.int64)
    one, out = np.array([head]), np.zeros(int(size[0]), np.uint8)
    for number, status in ((1, heap_objects.DONE), (60000, heap_objects.DAMAGED)):
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


def test_a_length_without_an_address_is_damage(tmp_path: Path) -> None:
    """HDF5 reads such a sequence as empty, and its events would be lost; both ways of reading report the recording."""
    path = write_file(tmp_path / "ssc_train.h5", draw(9))
    damaged(path, places(path)[0][0] + 16 * 3 + 4, bytes(8))
    with opened(path) as datasets:
        assert read_sequences(datasets[0], 0, 9).lengths[3] == 0
        with pytest.raises(OSError, match="has a length and no address"):
            VlenHeap(*datasets).read(0, 9)
    with CochleaReader(path) as reader:
        assert list(reader.read_block(0, 9).errors) == [3]
        (error,) = (one for one in reader.read(0, 9) if isinstance(one, RecordingError))
    assert error.message.startswith("ssc_train.h5: recording 3: it can't be read (")


def test_a_damaged_collection_ends_both_ways_of_reading(tmp_path: Path) -> None:
    """h5py 2.0 never returns from free space of size 0: neither way of reading asks it."""
    path = write_file(tmp_path / "ssc_train.h5", draw(9))
    damaged(path, places(path)[1][0] + 16, bytes(16))
    with CochleaReader(path) as reader:
        for read in (reader.read, reader.read_block):
            with pytest.raises(LayoutError, match="damaged or truncated"):
                read(0, 9)


@pytest.mark.parametrize("way", ["compiled", "the same in Python", "few events"])
def test_random_damage(tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways return the values of h5py, or None, or an error; in Python, a read out of bounds would raise an error.

    h5py is asked only where there is a result to compare: it never returns from some of these files.
    """
    if way == "the same in Python":
        for name in ("_size", "_walk", "copy_objects"):
            monkeypatch.setattr(heap_kernels, name, getattr(heap_kernels, name).py_func)
    rng = random.Random(5)  # noqa: S311
    path = write_file(tmp_path / "a.h5", draw(25, longest=40))
    good = path.read_bytes()
    descriptors, heads = places(path)
    seen: Counter[str] = Counter()
    for _ in range(60 if way == "the same in Python" else 300):
        data = bytearray(good)
        for _ in range(rng.choice([1, 1, 2, 5])):
            spots = [(rng.choice(descriptors), 400), (rng.choice(heads), 64), (rng.choice(heads), 4096)]
            start, length = rng.choice(spots)
            at = min(start + rng.randrange(length), len(data) - 1)
            data[at] = rng.choice([data[at] ^ 1 << rng.randrange(8), 0, 255, rng.randrange(256)])
        path.write_bytes(data)
        with opened(path) as datasets:
            try:
                found = VlenHeap(*datasets, few_events=way == "few events").read(0, 25)
            except OSError:
                seen["error"] += 1
                continue
            seen["left" if found is None else "same"] += 1
            if found is not None:
                assert_same(found, [read_sequences(one, 0, 25) for one in datasets])
    assert min(seen["error"], seen["same"]) > 10


def test_no_byte_outside_the_window_is_asked_for(tmp_path: Path) -> None:
    """If the window has only a part of a collection, the loop requests more bytes and copies nothing."""
    path = write_file(tmp_path / "a.h5", draw(5))
    whole = np.frombuffer(path.read_bytes(), np.uint8)
    head = places(path)[1][0]
    scratch = np.zeros((2, heap_objects.NUMBERS), np.int64)
    one: npt.NDArray[np.int64] = np.array([head])
    for length in (0, 1, 15, 16, 17, 4095):
        out = np.full(64, 7, np.uint8)
        arguments = (head, len(whole), one, one * 0 + 1, one * 0 + 8, one * 0, out, 0, *scratch)
        for module in (heap_kernels, heap_objects):
            answer = module.copy_objects(whole[head : head + length], *arguments)
            assert answer == (heap_objects.NEED, 0, 16 if length < 16 else 4096)
            assert (out == 7).all()


def test_free_space_is_not_an_object_and_no_byte_before_the_window_is_read(tmp_path: Path) -> None:
    """Otherwise object number 0 would have its head in the collection's own, and bytes after the window would be copied."""
    path = write_file(tmp_path / "a.h5", draw(5))
    whole = np.frombuffer(path.read_bytes(), np.uint8)
    head = places(path)[1][0]
    scratch = np.zeros((2, heap_objects.NUMBERS), np.int64)
    one, out = np.array([head]), np.zeros(4096, np.uint8)
    arguments = (len(whole), one, one * 0, one * 0 + 4096, one * 0, out, 0, *scratch)
    window = whole[head : head + 4096]
    for module in (heap_kernels, heap_objects):
        assert module.copy_objects(window, head, *arguments)[0] == heap_objects.DAMAGED
        assert module.copy_objects(window, head + 8, *arguments) == (heap_objects.NEED, 0, 16)


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
    with opened(path) as datasets, pytest.raises(OSError, match="a sequence is outside the file"):
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


def rewrite_unseen(path: Path) -> None:
    status = path.stat()
    rewrite(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def replace(path: Path) -> None:
    status = path.stat()
    (other := path.with_name("other")).write_bytes(path.read_bytes())
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(path)


CHANGES = {
    "shrank from": shrink,
    "grew from": grow,
    "was changed or": rewrite,
    "changed or replaced": rewrite_unseen,
    "or replaced": replace,
}


@pytest.mark.parametrize(("message", "change"), CHANGES.items(), ids=CHANGES)
@pytest.mark.parametrize("moment", ["before", "first", "second"])
@pytest.mark.parametrize("way", ["heap", "h5py"])
def test_a_file_that_changes_in_mid_read_is_an_error(
    tmp_path: Path,
    message: str,
    change: Callable[[Path], None],
    moment: str,
    way: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = write_file(tmp_path / "a.h5", draw(40, longest=4000))
    monkeypatch.setattr(vlen_heap, "_WINDOW", 2**14)
    if way == "h5py":
        monkeypatch.setattr(VlenHeap, "read", lambda *_: None)  # as with a file of an unknown form
    with CochleaReader(path) as reader:
        calls = 0
        owner: Any = os if way == "heap" else h5py.Dataset
        name = "preadv" if way == "heap" else "__getitem__"
        original = getattr(owner, name)

        def changed(*args: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls != ("before", "first", "second").index(moment):
                return original(*args)
            if way == "heap":
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
            reader.read_block(0, 40)
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
        with pytest.raises(SourceChangedError, match="can no longer be accessed"):
            reader.read_block(0, 4)
