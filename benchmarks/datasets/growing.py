"""A set that grows by a hundredth of its recordings, against a fresh build of the larger set.

Start-up is not measured: all builds run in one process, after its code was loaded and compiled and the files were hashed. The
fresh build goes into an empty store. For the grown set, the store with the former set is copied first, and the grown set goes
into this copy. A value is the time of growing, divided by the time of the
fresh build. Two of the values are bounds: the least time that growing needs for the recordings of the former set, divided by the
time of the fresh build.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from benchmarks.datasets.scale import Scale
from benchmarks.form import Row, compare, timed
from spikestore.store_schemas.layout import BLOCK

if TYPE_CHECKING:
    from spikestore.store import FeatureSet

SENSOR = 128
MOST_RECORDINGS, EVENTS = 10_000, 200_000
FEW_RECORDINGS, FEW_EVENTS = 500, 20_000
SHARE = 0.01
"""Share of the recordings that is added."""
DURATION = 2_000_000
"""Length of a recording, µs."""
DRAWN = 16
"""Number of different recordings; all further recordings are copies of these, moved to other places on the sensor."""


def growing_end(scale: Scale) -> Row:
    """Measure how long a set takes to grow if the paths of the new recordings sort after all other paths."""
    row = Row("growing_end: time of growing ÷ time of a fresh build", target=0.10, better="lower")
    return _grown(scale, row, "z")


def growing_middle(scale: Scale) -> Row:
    """Compare the time of growing a set with that of a fresh build. New recordings come in the middle, so half of the former rows get other numbers."""
    row = Row("growing_middle: time of growing ÷ time of a fresh build", target=0.35, better="lower")
    return _grown(scale, row, "m")


def growing_bound(scale: Scale) -> Row:
    """Measure the least time that growing must spend on the rows of the former set, divided by the time of a fresh build.

    The least work on a row is to decode it, to compare it with its stored hash, and to compute its digest and its hash for the new key.
    """
    row = Row("growing_bound: time for the stored rows at least ÷ time of a fresh build", better="lower")
    with _sets(scale, "z") as (former, build):
        return compare(row, lambda: timed(lambda: _least(former)), build, unit="s")


def growing_middle_bound(scale: Scale) -> Row:
    """Like `growing_bound`, for `growing_middle`: half of the former rows get new row numbers, so this half must also be encoded."""
    row = Row(
        "growing_middle_bound: time for the stored rows at least ÷ time of a fresh build", better="lower"
    )
    with _sets(scale, "m") as (former, build):
        moved = len(former.manifest.fragments) // 2
        return compare(row, lambda: timed(lambda: _least(former, moved)), build, unit="s")


def _least(former: FeatureSet, moved: int = 0) -> None:
    """Decode and hash every row of the former set, which is the least work that growing needs.

    The rows of the last `moved` fragments are also encoded.
    """
    from spikestore.store.columns.digest import BlockChecks, BlockDigests, check_seed
    from spikestore.store.columns.reader import DirectReader, FragmentDecoder
    from spikestore.store.columns.shard_codec import ShardEncoder, packed_objects

    manifest, layout = former.manifest, former.layout
    decoder, seed = FragmentDecoder(manifest, former.root), check_seed(*former.address)
    packed = packed_objects(manifest, former.root) or {}
    for fragment in range(len(manifest.fragments)):
        paths = [entry.path for entry in former.record(fragment).objects]
        objects = {path: former.storage.get(f"{former.data_path}/{path}") for path in paths}
        block, rows = manifest.rows(fragment).start // BLOCK, len(manifest.rows(fragment))
        reader = decoder.reader(fragment, objects)
        if not isinstance(reader, DirectReader):
            raise TypeError("the former set was encoded by another version of spikestore")
        table = reader.table(fragment)
        stored, new = (BlockChecks(table.columns, table.offsets, layout, each, block) for each in (seed, 0))
        digests = BlockDigests(table.columns, table.offsets, layout)
        for name in ("index", "value"):
            is_moved = fragment >= len(manifest.fragments) - moved
            encoder = ShardEncoder(packed[name]) if is_moved else None
            for begins, piece in reader.pieces(fragment, name, 0, rows):
                for hashes in (stored, new, digests):
                    hashes.update(begins, piece)
                if encoder is not None:
                    encoder.add(piece)
            if encoder is not None:
                encoder.finish()
        for hashes in (stored, new, digests):
            hashes.finish()


def _grown(scale: Scale, row: Row, prefix: str) -> Row:
    with _sets(scale, prefix) as (former, build):

        def grow() -> float:
            before = Path(former.storage.url)
            return build(shutil.copytree(before, before.parent / "store"))

        return compare(row, grow, build, unit="s")


@contextmanager
def _sets(scale: Scale, prefix: str) -> Iterator[tuple[FeatureSet, Callable[..., float]]]:
    """Yield the former set, and a function that builds the larger set and returns the seconds of this build.

    The argument of the function is the folder of the store in which it builds, by default a new folder. After the build, the
    function removes this folder.
    """
    from spikestore.pipeline import BuildOptions, preprocess

    recordings = scale.recordings or (FEW_RECORDINGS if scale.small else MOST_RECORDINGS)
    options = BuildOptions(workers=0, executor="fused")
    transform = _transform()
    files = _files(scale.events or (FEW_EVENTS if scale.small else EVENTS))
    first = [f"{'a' if 2 * number < recordings else 'n'}{number:05d}.bin" for number in range(recordings)]
    added = [f"{prefix}{number:05d}.bin" for number in range(max(1, int(SHARE * recordings)))]
    with scale.folder() as folder:
        before, after = (_located(folder, names, files) for names in (first, added))
        former = preprocess(before, transform, store=folder / "before", name="grown", options=options)

        def build(store: Path = folder / "fresh") -> float:
            seconds = timed(lambda: preprocess(after, transform, store=store, name="grown", options=options))
            shutil.rmtree(store)
            return seconds

        yield former, build


def _located(folder: Path, names: list[str], files: Iterator[bytes]) -> Any:
    """Write new recordings beside the existing recordings, and return the source of all recordings."""
    from spikestore.pipeline.readers.folder.settings import FolderSettings
    from spikestore.pipeline.sources.folder_sources import make_folder_sources

    recordings = folder / "data/circling"
    recordings.mkdir(parents=True, exist_ok=True)
    for name in names:
        (recordings / name).write_bytes(next(files))
    return make_folder_sources(FolderSettings(), recordings.parent, cache=folder / "cache")["all"]


def _transform() -> Any:
    from spikestore.store_schemas.specs.transform import Transform

    frame = {
        "op": "to_frame",
        "sensor_size": [SENSOR, SENSOR, 2],
        "time_window": 10_000,
        "include_incomplete": True,
    }
    return Transform.from_mapping({"operations": [frame]}, origin="benchmark")


def _files(events: int) -> Iterator[bytes]:
    """Yield the contents of files that all differ.

    The first `DRAWN` files have random events of a blob that circles. Later files have the same events, shifted on the sensor.
    """
    rng = np.random.default_rng(1)
    drawn = [_circling(rng, events) for _ in range(DRAWN)]
    for number in itertools.count():
        t, x, y, p = drawn[number % DRAWN]
        right, down = divmod(number // DRAWN, SENSOR)
        yield _packed(t, (x + right) % SENSOR, (y + down) % SENSOR, p)


def _circling(rng: np.random.Generator, events: int) -> tuple[npt.NDArray[np.int64], ...]:
    t = np.sort(rng.integers(0, DURATION, events))
    angle = 2 * np.pi * t / DURATION + rng.uniform(0, 2 * np.pi)
    x, y = (
        np.rint(SENSOR / 2 + SENSOR / 4 * turn(angle) + rng.normal(0, 5, events)).astype(np.int64) % SENSOR
        for turn in (np.cos, np.sin)
    )
    return t, x, y, rng.integers(0, 2, events)


def _packed(*columns: npt.NDArray[np.int64]) -> bytes:
    """Return the content of a file of N-MNIST."""
    t, x, y, p = columns
    raw = np.stack([x, y, p << 7 | t >> 16, t >> 8 & 0xFF, t & 0xFF], axis=1)
    return raw.astype(np.uint8).tobytes()
