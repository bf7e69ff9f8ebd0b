"""The forms ``npz`` (a file for each sample, in a folder for each class) and ``webdataset`` (the same files in tar shards)."""

from __future__ import annotations

import contextlib
import hashlib
import io
import tarfile
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np

from spikestore.pipeline.exporting.description import SplitToWrite
from spikestore.pipeline.exporting.kept_samples import kept_samples, sample_count
from spikestore.store import FeatureSet
from spikestore.store.concurrency import in_order
from spikestore.store.machine import available_cores

SHARD_SAMPLES = 1000
"""Approximate number of samples in a shard, if `MOST_SHARDS` shards suffice; else shards are larger."""
MOST_SHARDS = 200
"""Maximum number of shards: all are open at the same time, and systems limit the number of open files."""
_LONGEST_NAME = 100


class DenseSample(NamedTuple):
    """A sample as the content of an ``.npz`` file."""

    row: int
    label: int
    content: bytes
    """A compressed ``.npz`` with frames, label, row and the other columns."""


def write_class_folders(split: SplitToWrite) -> None:
    """Write ``SPLIT/NUMBER-CLASS/ROW.npz``. The order of the folders by name is the order of the class numbers."""
    folders = [split.path_with("") / name for name in class_folders(split.features.classes)]
    for path in folders:  # also for classes without samples: a reader numbers the folders that it finds
        path.mkdir(parents=True)
    for done, sample in enumerate(_dense_samples(split.features), 1):
        (folders[sample.label] / f"{sample.row:09d}.npz").write_bytes(sample.content)
        split.progress(done, split.facts["samples"])


def class_folders(classes: tuple[str, ...]) -> list[str]:
    """Return the name of the folder of each class: its number, and its name in letters that are legal on every system, cut after 100 letters."""
    width = len(str(len(classes) - 1))
    return [
        f"{number:0{width}d}-{quote(name, safe=' +,=@()')[:_LONGEST_NAME].rstrip('. ')}"
        for number, name in enumerate(classes)
    ]


def write_shards(split: SplitToWrite) -> None:
    """Write ``SPLIT-NUMBER.tar`` with ``ROW.npz`` and ``ROW.cls`` of each sample.

    Rows are often sorted by class, and readers shuffle only within a part of a shard. Therefore a hash of the row number
    chooses the shard of a sample.
    """
    count = min(MOST_SHARDS, -(-sample_count(split.features.manifest) // SHARD_SAMPLES)) or 1
    with contextlib.ExitStack() as stack:
        shards = [
            stack.enter_context(split.path_with(f"-{number:06d}.tar").open("xb")) for number in range(count)
        ]
        for done, sample in enumerate(_dense_samples(split.features), 1):
            key, shard = f"{sample.row:09d}", shards[_shard_of(sample.row, count)]
            shard.write(_entry(f"{key}.npz", sample.content))
            shard.write(_entry(f"{key}.cls", b"%d" % sample.label))
            split.progress(done, split.facts["samples"])
        for shard in shards:
            shard.write(bytes(2 * tarfile.BLOCKSIZE))


def _shard_of(row: int, count: int) -> int:
    return int.from_bytes(hashlib.sha256(b"%d" % row).digest()[:8], "big") % count


def _entry(name: str, content: bytes) -> bytes:
    """Return the bytes of a tar archive's entry: header, content and padding.

    `tarfile.TarFile` is not used, because an open archive keeps every entry in memory.
    """
    entry = tarfile.TarInfo(name)  # without owner and time: the same samples give the same bytes
    entry.size = len(content)
    return entry.tobuf(tarfile.USTAR_FORMAT) + content + bytes(-len(content) % tarfile.BLOCKSIZE)


def _dense_samples(features: FeatureSet) -> Iterator[DenseSample]:
    """Yield all samples except skipped rows, each as a compressed ``.npz``. All cores compress; only a few dense samples are in memory at a time."""
    threads = available_cores()
    for kept in kept_samples(features):
        per_sample = kept.per_sample()

        def packed(item: tuple[int, Any], columns: Mapping[str, Any] = per_sample) -> DenseSample:
            position, frames = item
            file = io.BytesIO()
            np.savez_compressed(
                file, frames=frames, **{name: column[position] for name, column in columns.items()}
            )
            return DenseSample(
                int(columns["row"][position]), int(columns["label"][position]), file.getvalue()
            )

        yield from in_order(packed, enumerate(kept.frames()), threads=threads)
