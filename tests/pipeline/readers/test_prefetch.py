"""Reading ahead: the same blocks in the same order, bounded, and no thread left behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.pipeline.cochlea_files import draw, write_file

from spikestore.pipeline.readers.cochlea_files.cochlea import CochleaReader
from spikestore.pipeline.readers.event_block import EventBlock
from spikestore.pipeline.readers.prefetch import blocks
from spikestore.store_schemas.errors import LayoutError

NONE = np.zeros(0, np.int64)


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    assert [one.name for one in threading.enumerate() if one.name == "spikestore-prefetch"] == []


class Recorder:
    """A reader of empty blocks that remembers what was asked for, and by whom."""

    def __init__(self, fail_at: int | None = None, error: BaseException | None = None) -> None:
        self.asked: list[tuple[int, int]] = []
        self.threads: set[int] = set()
        self.fail_at, self.error = fail_at, error
        self.gate = threading.Event()
        self.gate.set()

    def read_block(self, start: int, stop: int) -> EventBlock:
        self.asked.append((start, stop))
        self.threads.add(threading.get_ident())
        self.gate.wait(20)
        if start == self.fail_at and self.error is not None:
            raise self.error
        labels = np.arange(start, stop)
        return EventBlock(
            start, np.zeros(stop - start + 1, np.int64), NONE, None, NONE, None, None, labels, {}, {}
        )


def settled(reader: Recorder) -> list[tuple[int, int]]:
    """Return what was asked for once nothing more is asked for."""
    before = -1
    while len(reader.asked) != before:
        before = len(reader.asked)
        time.sleep(0.05)
    return reader.asked


@pytest.mark.parametrize("rows", [range(0), range(1), range(6), range(5, 12), range(3, 3)])
@pytest.mark.parametrize("size", [1, 3, 100])
@pytest.mark.parametrize("ahead", [1, 2, 9])
def test_blocks_in_order(rows: range, size: int, ahead: int) -> None:
    reader = Recorder()
    with blocks(reader, rows, size, ahead=ahead) as stream:
        found = list(stream)
        assert next(stream, None) is None
    assert [row for block in found for row in block.labels] == list(rows)
    assert reader.asked == [(start, min(start + size, rows.stop)) for start in rows[::size]]
    assert threading.get_ident() not in reader.threads
    assert len(reader.threads) <= 1


@pytest.mark.parametrize("ahead", [1, 2])
def test_it_reads_ahead_and_no_further(ahead: int) -> None:
    reader = Recorder()
    with blocks(reader, range(10), 1, ahead=ahead) as stream:
        assert len(settled(reader)) == ahead
        next(stream)
        assert len(settled(reader)) == ahead + 1
        next(stream)
        assert len(settled(reader)) == ahead + 2


def test_a_real_reader(tmp_path: Path) -> None:
    path = write_file(tmp_path / "a.h5", draw(30))
    with CochleaReader(path) as reader, blocks(reader, range(2, 30), 7) as stream:
        t = np.concatenate([block.t for block in stream])
        np.testing.assert_array_equal(t, reader.read_block(2, 30).t)


@pytest.mark.parametrize("error", [LayoutError("damaged", path="a"), MemoryError(), KeyboardInterrupt()])
def test_an_error_comes_where_its_block_would(error: BaseException) -> None:
    try:
        raise OSError("the cause")
    except OSError as cause:
        error.__cause__ = cause
    reader = Recorder(fail_at=2, error=error)
    with blocks(reader, range(6), 1, ahead=2) as stream:
        assert [next(stream).first_row, next(stream).first_row] == [0, 1]
        with pytest.raises(type(error)) as caught:
            next(stream)
        assert caught.value is error
        assert str(caught.value.__cause__) == "the cause"
        assert "read_block" in [entry.name for entry in caught.traceback]
        assert list(stream) == []
    assert len(reader.asked) == 3


def test_an_error_that_is_never_asked_for_is_dropped() -> None:
    with blocks(Recorder(fail_at=1, error=OSError()), range(6), 1) as stream:
        next(stream)


def test_an_error_of_the_consumer_ends_the_thread() -> None:
    reader = Recorder()
    with pytest.raises(RuntimeError, match="mine"), blocks(reader, range(1000), 1) as stream:  # noqa: PT012
        next(stream)
        raise RuntimeError("mine")
    assert len(reader.asked) <= 2


def test_leaving_early_waits_for_the_read_under_way_only() -> None:
    reader = Recorder()
    reader.gate.clear()
    timer = threading.Timer(0.2, reader.gate.set)
    with blocks(reader, range(1000), 1, ahead=2) as stream:
        timer.start()
    assert len(reader.asked) == 1
    timer.join()
    with pytest.raises(ValueError, match="was left"):
        next(stream)


@pytest.mark.parametrize(
    ("rows", "size", "ahead"), [(range(0, 9, 2), 1, 1), (range(9), 0, 1), (range(9), 1, 0)]
)
def test_wrong_arguments(rows: range, size: int, ahead: int) -> None:
    with pytest.raises(ValueError, match="at least 1"), blocks(Recorder(), rows, size, ahead=ahead):
        pass
