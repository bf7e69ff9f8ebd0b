"""Files of the demo data: speech-like recordings with the same file layout as Spiking Speech Commands.

1. The random numbers of a recording are seeded with (seed, split, number). Therefore the recordings of a small set are the first recordings of a
   large set, and the same arguments always give the same bytes.
2. The three files have what `tonic.datasets.SSC` reads: vlen float16 times in seconds, vlen uint16 units, labels, class names,
   speakers. No speaker is in two splits. An empty ``.zip`` is written next to each file, because Tonic starts a download if the
   ``.zip`` is missing.
3. A file gets its name only when it is complete. A demo file that was made with the same arguments is kept, and another
   demo file is replaced. A file that is not demo data is never overwritten, because it may be the real SSC.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

from spikestore.pipeline.demo.demo_voices import WORDS, Voice, draw_recording, draw_voice
from spikestore.store.progress import UnlabelledProgress
from spikestore.store.storage.durable_files import replacing
from spikestore.store_schemas.errors import ReadOnlyStoreError, StorageFullError, StoreError, UsageError
from spikestore.store_schemas.wording import size_text

__all__ = ["write_demo_data"]

VERSION = 1
"""Version of the contents of the files; files of another version are rewritten."""

_SPLITS = ("train", "valid", "test")
_SPEAKERS = {"train": (0, 240), "valid": (240, 60), "test": (300, 60)}
"""First number and count of the speakers of a split: fixed, so that the speaker of recording i does not depend on the
number of recordings."""
_REPORT_EVERY = 100
"""Number of recordings between two calls of ``progress``."""
_BYTES_PER_RECORDING = 36_000
"""Mean size on disk in bytes, a little above the measured mean."""
_MARK = "spikestore_demo"
"""Root attribute of a demo file: version, seed, number of recordings."""
# Second number of a seed: its purpose.
_FOR_VOICE, _FOR_LABELS, _FOR_RECORDING = range(3)


def write_demo_data(
    folder: Path | str,
    *,
    train: int = 2000,
    valid: int = 400,
    test: int = 400,
    seed: int = 0,
    progress: UnlabelledProgress | None = None,
) -> dict[str, Path]:
    """Write deterministic speech-like recordings that `tonic.datasets.SSC` loads.

    Parameters
    ----------
    folder : pathlib.Path or str
        Tonic's ``save_to``: files are written to ``folder/SSC/``. If this folder is missing, it is created.
    train, valid, test : int
        Number of recordings in each split, at least 1. A split with at least 35 recordings has every class.
    seed : int
        Seed of the voices, the labels and the recordings, from 0 to 2^63 - 1. The words and their class numbers are the same for all seeds.
    progress : callable, optional
        Called as ``progress(recordings_done, recordings_total)``; recordings in kept files are counted too.

    Returns
    -------
    dict of str to pathlib.Path
        The HDF5 file of each split: ``train``, ``valid``, ``test``.

    Raises
    ------
    UsageError
        A number is out of range, the path is not a folder, or the folder has SSC files that are not demo data.
    ReadOnlyStoreError
        The folder cannot be written to.
    StorageFullError
        No space is left.
    StoreError
        The operating system reports another error.
    """
    counts = {"train": train, "valid": valid, "test": test}
    for split, count in counts.items():
        if count < 1:
            raise UsageError(f"demo data: {split} must be at least 1 recording, got {count}", field=split)
    if not 0 <= seed < 2**63:
        raise UsageError(f"demo data: seed must be from 0 to 2^63 - 1, got {seed}", field="seed")
    target = Path(folder) / "SSC"
    paths = {split: target / f"ssc_{split}.h5" for split in _SPLITS}
    total = sum(counts.values())
    done = 0

    def report(written: int) -> None:
        if progress is not None:
            progress(done + written, total)

    with _storage_errors(target):
        target.mkdir(parents=True, exist_ok=True)
        kept = {split: _is_written(paths[split], counts[split], seed) for split in _SPLITS}
        _check_space(target, sum(counts[split] for split in _SPLITS if not kept[split]))
        for split in _SPLITS:
            if not kept[split]:
                _write_split(paths[split], split, counts[split], seed, report)
            report(counts[split])
            done += counts[split]
    return paths


def _archive(path: Path) -> Path:
    """Return the path of the archive that Tonic requires next to the file `path`."""
    return path.with_name(path.name + ".zip")


def _is_written(path: Path, count: int, seed: int) -> bool:
    """Return whether `path` is a demo file of these arguments; raise `UsageError` if the file is not demo data."""
    archive = _archive(path)
    if archive.exists() and archive.stat().st_size > 0:
        raise UsageError(f"{archive} is not demo data: choose another folder", path=str(archive))
    if not path.exists():
        return False
    mark = None
    # A file that HDF5 cannot open is not demo data: demo files are complete.
    with contextlib.suppress(OSError), h5py.File(path, "r") as file:
        mark = file.attrs.get(_MARK)
    if mark is None:
        raise UsageError(f"{path} is not demo data: choose another folder", path=str(path))
    return archive.exists() and np.array_equal(mark, [VERSION, seed, count])


def _check_space(folder: Path, count: int) -> None:
    needed = _BYTES_PER_RECORDING * count
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise StorageFullError(
            f"{folder}: demo data need about {size_text(needed)}, but only {size_text(free)} are free",
            path=str(folder),
        )


def _write_split(path: Path, split: str, count: int, seed: int, report: Callable[[int], None]) -> None:
    """Write the file of one split, and next to it the empty archive that Tonic requires."""
    # A fixed range of HDF5 formats and no time stamps: the same bytes on every run.
    with replacing(path) as temporary, h5py.File(temporary, "w", libver=("earliest", "v108")) as file:
        _fill(file, split, count, seed, report)
    _archive(path).touch()


def _fill(file: h5py.File, split: str, count: int, seed: int, report: Callable[[int], None]) -> None:
    """Write all data of one split into an open, empty file."""
    stream = _SPLITS.index(split)
    words = list(WORDS)
    labels = _draw_labels(stream, count, seed)
    first, n_speakers = _SPEAKERS[split]
    voices = [_voice(seed, first + k) for k in range(n_speakers)]
    speakers = np.empty(count, np.uint16)

    file.attrs[_MARK] = np.array([VERSION, seed, count], np.int64)
    times = file.create_dataset("spikes/times", (count,), h5py.vlen_dtype(np.float16), track_times=False)
    units = file.create_dataset("spikes/units", (count,), h5py.vlen_dtype(np.uint16), track_times=False)
    for i in range(count):
        rng = np.random.default_rng((seed, _FOR_RECORDING, stream, i))
        speaker = int(rng.integers(n_speakers))
        speakers[i] = first + speaker
        # Single rows: h5py treats a block of one vlen row as a two-dimensional array.
        times[i], units[i] = draw_recording(rng, words[labels[i]], voices[speaker])
        if (i + 1) % _REPORT_EVERY == 0:
            report(i + 1)
    file.create_dataset("labels", data=labels, track_times=False)
    file.create_dataset("extra/keys", data=np.array([word.encode() for word in words]), track_times=False)
    file.create_dataset("extra/speaker", data=speakers, track_times=False)


def _voice(seed: int, speaker: int) -> Voice:
    return draw_voice(np.random.default_rng((seed, _FOR_VOICE, speaker)))


def _draw_labels(stream: int, count: int, seed: int) -> npt.NDArray[np.uint16]:
    """Return labels: uint16, shape (count,). Each of the 35 classes occurs once in recordings 0 to 34, once in 35 to 69, and so on."""
    runs = [
        np.random.default_rng((seed, _FOR_LABELS, stream, run)).permutation(len(WORDS))
        for run in range(-(-count // len(WORDS)))
    ]
    return np.concatenate(runs)[:count].astype(np.uint16)


@contextlib.contextmanager
def _storage_errors(folder: Path) -> Iterator[None]:
    """Convert errors of the operating system and of HDF5 to `SpikestoreError`."""
    try:
        yield
    except StoreError:
        raise
    except OSError as error:
        # HDF5 reports a full disk only in the message, without errno.
        if error.errno in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error):
            raise StorageFullError(f"{folder}: no space left", path=str(folder)) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise ReadOnlyStoreError(
                f"cannot write to {folder} ({os.strerror(error.errno)}): choose another folder",
                path=str(folder),
            ) from error
        if error.errno in (errno.ENOTDIR, errno.EEXIST):
            raise UsageError(
                f"{folder} is a file, or below a file: choose another folder", path=str(folder)
            ) from error
        raise StoreError(f"{folder}: {error}", path=str(folder)) from error
