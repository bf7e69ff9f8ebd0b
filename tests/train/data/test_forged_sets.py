"""Forged sets cause an error that names the row, with every residence, and never a wrong sample."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.faults.forger import SMALL, Forgery, with_column, with_row
from tests.store.small_sets import SITES

from spikestore.store import FeatureSet, verify
from spikestore.store_schemas import Transform
from spikestore.store_schemas.errors import DamagedError, SpikestoreError, UsageError
from spikestore.train import ChannelJitter, FeatureDataset, FeatureLoader, hold_out

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store with ``small:train``, not to be changed."""
    folder = tmp_path_factory.mktemp("honest") / "store"
    Forgery.build(folder)
    return folder


@pytest.fixture
def forged(honest: Path, tmp_path: Path) -> Forgery:
    """Return a store to be forged."""
    shutil.copytree(honest, tmp_path / "store")
    return Forgery(tmp_path / "store")


def epoch(features: FeatureSet, **options: Any) -> list[np.ndarray[Any, Any]]:
    """Return the frames of an epoch, one tensor for each batch."""
    return [batch.frames.numpy() for batch in FeatureLoader(features, 16, **options)]


USES: dict[str, Callable[[FeatureSet], object]] = {
    "host": lambda features: epoch(features, residence="host"),
    "device": lambda features: epoch(features, residence="device"),
    "stream": lambda features: epoch(features, residence="stream"),
    "padded": lambda features: epoch(features, residence="stream", pad_to=400),
    "augmented": lambda features: epoch(features, residence="host", augment=[ChannelJitter(2)]),
    "data set": lambda features: [FeatureDataset(features)[item] for item in range(16)],
    "shuffled stream": lambda features: epoch(features, residence="stream", shuffle=True),
}


def fewer_bins(forged: Forgery) -> None:
    """Make all documents say that no sample of the first fragment has more than 8 time bins."""
    rows = forged.rows()
    forged.replace_rows(rows)
    longest = max(one[2] for one in forged.features.manifest.fragments[1:])
    forged.change_record(lambda one: one.update(n_bins=8))
    forged.change_manifest(lambda one: (one["fragments"][0].__setitem__(2, 8), one.update(n_bins=longest)))


def smaller(name: str) -> Callable[[Forgery], None]:
    """Halve the largest index, or value, in the manifest."""
    return lambda forged: forged.change_manifest(lambda one: one.__setitem__(name, one[name] // 2))


FORGERIES: dict[str, Callable[[Forgery], None]] = {
    "unsorted": lambda forged: forged.replace_rows(with_row(forged.rows(), 1, [5, 3], [1, 1])),
    "duplicate": lambda forged: forged.replace_rows(with_row(forged.rows(), 1, [3, 3], [1, 1])),
    "beyond": lambda forged: forged.replace_rows(
        with_row(forged.rows(), 1, [int(forged.rows().n_bins[1]) * SITES], [1])
    ),
    "no class": lambda forged: forged.replace_rows(with_column(forged.rows(), "label", 1, 2)),
    "n_bins": fewer_bins,
    "max_index": smaller("max_index"),
    "max_value": smaller("max_value"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_no_residence_uses_forged_rows(forged: Forgery, name: str) -> None:
    """The error names set, fragment and row."""
    FORGERIES[name](forged)
    features = forged.features
    for use in USES.values():
        with pytest.raises(DamagedError, match=r"fragment \d, row \d+: ") as caught:
            use(features)
        assert forged.address.folder in str(caught.value)


def test_one_wrong_number_of_the_manifest(forged: Forgery) -> None:
    """A longest sample that is shorter than the fragments say is rejected before anything is loaded."""
    forged.change_manifest(lambda one: one.update(n_bins=3))
    with pytest.raises(DamagedError, match="n_bins must be the largest n_bins of the fragments"):
        FeatureLoader(forged.features, 32, residence="host", pad_to=10)


def test_a_row_that_asks_for_any_amount_of_memory(tmp_path: Path) -> None:
    """The format allows such a row; it is rejected by its number before memory is allocated, wherever frames are made."""
    transform = Transform(operations=SMALL.transform.operations, max_bins=2**28)
    forged = Forgery.build(tmp_path / "store", replace(SMALL, transform=transform))
    forged.replace_rows(with_column(forged.rows(), "n_bins", 0, 2**28))
    features = forged.features
    assert verify(features, depth="deep") == []
    for use in (lambda features: features.frames(0), *(USES[name] for name in USES if name != "padded")):
        with pytest.raises(
            UsageError,
            match=r"row 0 (of SSC train )?has 268,435,456 time bins: .*, more than max_frame_bytes = ",
        ):
            use(features)


def test_a_set_that_asks_for_any_amount_of_memory(forged: Forgery) -> None:
    """A fragment of 2^40 rows is rejected before an array of its size is allocated."""

    def huge(document: dict[str, Any]) -> None:
        document.update(samples=2**40, fragment_samples=2**40, nnz=0, skipped=[], max_index=0, max_value=0)
        longest = max(document["fragments"], key=lambda fragment: fragment[2])
        document["fragments"] = [[2**40, 0, *longest[2:]]]

    forged.change_manifest(huge)
    features = forged.features
    for use in (
        lambda features: hold_out(features, 0.5),
        lambda features: features.column("label"),
        *USES.values(),
    ):
        with pytest.raises(
            SpikestoreError, match=r"needs [0-9,]{15,} bytes of memory|needs [0-9,.]+ GB packed"
        ):
            use(features)


@pytest.mark.parametrize("residence", ["host", "device", "stream"])
def test_a_bound_that_a_user_chooses(forged: Forgery, residence: str) -> None:
    """The argument max_frame_bytes lowers or raises the limit."""
    features = forged.features
    longest = features.manifest.n_bins * SITES * 4
    with pytest.raises(
        UsageError,
        match=r"a batch of 16 rows that contains this row takes [0-9,]+ bytes, more than max_frame_bytes = ",
    ):
        epoch(features, residence=residence, max_frame_bytes=longest)
    epoch(features, residence=residence, max_frame_bytes=16 * longest)
    row = int(np.argmax(features.column("n_bins")))
    with pytest.raises(UsageError, match=f"row {row} has"):
        features.frames(row, max_frame_bytes=longest - 1)
    assert features.frames(row, max_frame_bytes=longest).nbytes == longest
    with pytest.raises(UsageError, match="crop in the transform, or raise max_frame_bytes"):
        FeatureDataset(features, max_frame_bytes=8)[1]


CHECKED = """
import numpy as np, numba, sys
from pathlib import Path
from spikestore.train.data.frames import frame_kernels
from spikestore.store import Store
from spikestore.train import FeatureLoader, FeatureDataset

assert numba.config.BOUNDSCHECK
index, value = np.array([1, 3, 1, 9], np.uint16), np.ones(4, np.uint8)
around = np.full((4, 8), 7, np.float32)
frames = around[1:3, :6]
at, counts, room = [np.array(one) for one in ([0, 2], [2, 2], [4, 2])]
at_index, at_value = index.ctypes.data + 2 * at, value.ctypes.data + at

def fill(counts=counts, room=room, places=(6, 6), frames=frames):
    wrong = frame_kernels.fill_frames(
        at_index, at_value, np.array(counts), np.array(room), np.array(places), index[:0], value[:0], frames, 0, 2
    )
    assert (around[[0, 3]] == 7).all() and (around[:, 6:] == 7).all()
    return wrong

assert fill() == 1                                # index 9 of 6 places
assert fill(places=(6, 1000)) == 1                # places that the buffer has not
assert fill(counts=(2, 2**40)) == 1               # more than was read
assert fill(counts=(-1, 1)) == 0
assert fill(counts=(2, 1)) == -1
assert frames.tolist() == [[0, 1, 0, 1, 0, 0], [0, 1, 0, 0, 0, 0]]
out_index, out_value = np.zeros(4, np.uint16), np.zeros(4, np.uint8)

def gather(offsets, room=room, out_index=out_index):
    return frame_kernels.gather(at_index, at_value, np.array(room), np.array(offsets), out_index, out_value, 0, 2)

assert gather([0, 2, 4]) == -1 and out_index.tolist() == [1, 3, 1, 9]
assert gather([0, 2, 2**40]) == 1                 # more than was read, and than there is room for
assert gather([0, 2, 5], room=[4, 4]) == 1
assert gather([-3, 2, 4]) == 0
assert gather([0, 2, 4], out_index=out_index[:3]) == 1

features = Store(sys.argv[1])["small:train"]
for residence in ("host", "stream"):
    for options in ({}, {"frames": "sparse_coo"}):
        for batch in FeatureLoader(features, 16, residence=residence, **options):
            dense = batch.frames if batch.frames.layout is not __import__("torch").sparse_coo else batch.frames.to_dense()
            for row, length, found in zip(batch.samples, batch.lengths, dense.numpy()):
                assert np.array_equal(found[: int(length)], features.frames(int(row)))
print("as they should be")
"""


@pytest.mark.slow  # everything is compiled again; without checks, the other tests of this file run the same loops
def test_compiled_loops_with_bounds_checks(honest: Path, tmp_path: Path) -> None:
    """All compiled loops of the loader run over valid and forged numbers with numba's own bounds checks."""
    environment = {
        **os.environ,
        "NUMBA_BOUNDSCHECK": "1",
        "NUMBA_CACHE_DIR": str(tmp_path),
        "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)]),
    }
    done = subprocess.run(
        [sys.executable, "-c", CHECKED, str(honest)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "as they should be\n"
    assert [*tmp_path.rglob("*-checked/*.nbi")], "numba's cache is not keyed by its checks: ours must be"
