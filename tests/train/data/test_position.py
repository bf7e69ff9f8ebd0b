"""Loaders that stop and resume at any batch: positions, shares of ranks, and subsets."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.hypothesis_profiles import examples
from tests.store.small_sets import memory_storage, small_set

from spikestore.store import FeatureSet, Store
from spikestore.store_schemas.errors import DamagedError, UsageError
from spikestore.train import EventDrop, FeatureLoader, hold_out, rows_where
from spikestore.train.data import placement as residences
from spikestore.train.data.placement import Residence

LOADERS: dict[str, dict[str, Any]] = {
    "host": {"residence": "host", "shuffle": True},
    "rows": {"residence": "host"},
    "weighted": {"residence": "device", "weights": np.arange(150) % 5},
    "stream": {"residence": "stream", "shuffle": True, "window": 192},
    "stream in order": {"residence": "stream"},
}


@settings(max_examples=examples(25))
@given(
    kind=st.sampled_from([*LOADERS]),
    stops=st.lists(st.integers(0, 12), min_size=1, max_size=4),
    threads=st.lists(st.integers(1, 3), min_size=5, max_size=5),
    size=st.sampled_from([13, 16, 64]),
)
def test_stops_and_resumes_anywhere(
    features: FeatureSet, kind: str, stops: list[int], threads: list[int], size: int
) -> None:
    """For any stops and any number of threads, the batches are those of a loader that never stopped."""

    def loader(count: int) -> FeatureLoader:
        return FeatureLoader(features, size, threads=count, seed=4, augment=EventDrop(0.2), **LOADERS[kind])

    whole = loader(1)
    truth = [batch for _ in range(len(stops) + 2) for batch in whole]
    found, state = [], loader(1).state_dict()
    for stop, count in zip([*stops, 10**6], threads, strict=False):
        one = loader(count)
        one.load_state_dict(json.loads(json.dumps(state)))
        for number, batch in enumerate(one, 1):
            found.append(batch)
            if number > stop:
                break
        state = one.state_dict()
    assert len(found) >= len(stops)
    for mine, other in zip(found, truth, strict=False):
        assert all(torch.equal(a, b) for a, b in zip(mine, other, strict=True))


def test_state_moves_on_with_the_epoch(features: FeatureSet) -> None:
    """After a whole pass the state is the start of the next epoch; `set_epoch` to the same epoch keeps a loaded position."""
    loader = FeatureLoader(features, 16, shuffle=True)
    assert (loader.state_dict()["epoch"], loader.state_dict()["batch"]) == (0, 0)
    epochs = [[batch.samples.tolist() for batch in loader] for _ in range(2)]
    assert (loader.state_dict()["epoch"], loader.state_dict()["batch"]) == (2, 0)
    resumed = FeatureLoader(features, 16, shuffle=True)
    resumed.load_state_dict({**loader.state_dict(), "epoch": 1, "batch": 6})
    resumed.set_epoch(1)
    assert [batch.samples.tolist() for batch in resumed] == epochs[1][6:]
    resumed.load_state_dict({**loader.state_dict(), "epoch": 0, "batch": len(loader)})
    assert [batch.samples.tolist() for batch in resumed] == epochs[1]
    resumed.load_state_dict({**loader.state_dict(), "epoch": 0, "batch": 6})
    resumed.set_epoch(1)
    assert [batch.samples.tolist() for batch in resumed] == epochs[1]


@pytest.mark.parametrize("kind", LOADERS)
def test_a_loop_that_sets_epochs_resumes_after_the_last_batch(features: FeatureSet, kind: str) -> None:
    """A loop that is killed after the last batch of an epoch has no batch of this epoch left; then comes the next one."""

    def made() -> FeatureLoader:
        return FeatureLoader(features, 16, **LOADERS[kind])

    whole = made()
    epochs = [[batch.samples.tolist() for batch in whole] for _ in range(3)]
    stopped = made()
    stopped.set_epoch(1)
    states = [stopped.state_dict() for _ in stopped]
    resumed = made()
    resumed.load_state_dict(states[-1])
    for epoch, left in ((1, []), (2, epochs[2])):
        resumed.set_epoch(epoch)
        assert [batch.samples.tolist() for batch in resumed] == left
    resumed.load_state_dict(states[-1])
    resumed.set_epoch(0)
    assert [batch.samples.tolist() for batch in resumed] == epochs[0]
    resumed.set_epoch(1)
    assert [batch.samples.tolist() for batch in resumed] == epochs[1]


def test_a_foreign_state_is_refused(features: FeatureSet) -> None:
    """A state with another seed, batch size, order or subset, and a value that is no state: the message names the difference."""
    loader = FeatureLoader(features, 16, shuffle=True)
    for other, name in (
        (FeatureLoader(features, 16, shuffle=True, seed=1), "seed"),
        (FeatureLoader(features, 8, shuffle=True), "batch_size"),
        (FeatureLoader(features, 16), "a position in the order 'rows'"),
        (FeatureLoader(features, 16, shuffle=True, rows=range(10)), "rows"),
    ):
        with pytest.raises(UsageError, match=f"the state has {name}"):
            loader.load_state_dict(other.state_dict())
    with pytest.raises(
        UsageError, match=r"the state has digest = None, .* fits only a loader of the same set"
    ):
        loader.load_state_dict({})
    for wrong in ({"batch": 11}, {"batch": -1}, {"epoch": "1"}):
        with pytest.raises(UsageError, match="the state has epoch ="):
            loader.load_state_dict({**loader.state_dict(), **wrong})


@pytest.mark.parametrize("kind", LOADERS)
@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks_share_every_batch(features: FeatureSet, kind: str, ranks: int) -> None:
    """Together they yield the global batches, also in the middle of an epoch, with a state of another number of ranks."""
    whole = FeatureLoader(features, 16, **LOADERS[kind])
    truth = [sorted(batch.samples.tolist()) for batch in whole]
    parts = [FeatureLoader(features, 16, rank=rank, ranks=ranks, **LOADERS[kind]) for rank in range(ranks)]
    assert {len(part) for part in parts} == {len(whole)}
    state = {**whole.state_dict(), "epoch": 0, "batch": 4}
    for part in parts:
        part.load_state_dict(state)
    for expected, batches in zip(truth[4:], zip(*parts, strict=True), strict=True):
        assert sorted(row for batch in batches for row in batch.samples.tolist()) == expected
        shares = [len(batch.labels) for batch in batches]
        assert kind == "stream" or max(shares) - min(shares) <= 1


def test_ranks_that_make_no_sense(features: FeatureSet) -> None:
    """Rank 2 of 2, no ranks and negative ranks are rejected."""
    for rank, ranks in ((2, 2), (0, 0), (-1, 2)):
        with pytest.raises(UsageError, match="rank"):
            FeatureLoader(features, 16, rank=rank, ranks=ranks)


def test_more_ranks_than_samples_in_the_last_batch(features: FeatureSet) -> None:
    """A share may be empty, but its batch is yielded, so that no rank waits for the others."""
    batches = list(FeatureLoader(features, 74, rank=0, ranks=4))
    assert [len(batch.labels) for batch in batches] == [18, 18, 0]
    assert batches[-1].frames.shape == (0, 0, 1, 10)


def test_auto_that_chooses_otherwise_finishes_the_epoch(
    features: FeatureSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a machine with less memory, the epoch ends with its remaining batches; later epochs have the order of `stream`."""

    def made(residence: Residence) -> FeatureLoader:
        return FeatureLoader(features, 16, residence, shuffle=True)

    def rows(loader: FeatureLoader) -> list[list[int]]:
        return [batch.samples.tolist() for batch in loader]

    before, truth = made("auto"), rows(made("host"))
    next(iter(before))
    with monkeypatch.context() as patch:
        patch.setattr(residences, "free_host_bytes", lambda: 1000)
        after = made("auto")
    assert (before.residence, after.residence) == ("host", "stream")
    after.load_state_dict(before.state_dict())
    assert rows(after) == truth[1:]
    streamed = made("stream")
    streamed.set_epoch(1)
    assert rows(after) == rows(streamed)
    # At the start of an epoch, no epoch has to be finished.
    after.load_state_dict({**before.state_dict(), "batch": 0})
    assert rows(after) == rows(made("stream"))
    # Without shuffling, all residences have the same order.
    ascending = FeatureLoader(features, 16, "host")
    next(iter(ascending))
    also = FeatureLoader(features, 16, "stream")
    also.load_state_dict(ascending.state_dict())
    assert rows(also) == rows(FeatureLoader(features, 16))[1:]


@settings(max_examples=8)
@given(
    stages=st.lists(
        st.tuples(
            st.sampled_from(["host", "device", "stream"]),
            st.integers(1, 2),  # ranks
            st.integers(1, 2),  # threads
            st.sampled_from([None, 128]),  # window
            st.integers(1, 5),  # batches until the next stop
        ),
        min_size=2,
        max_size=3,
    ),
    mixed=st.booleans(),
)
def test_any_residence_finishes_any_epoch(
    features: FeatureSet, stages: list[tuple[Any, ...]], mixed: bool
) -> None:
    """Each recording comes once, in the batches of the order that began; ranks may have different residences then."""
    truth = [
        batch.samples.tolist()
        for batch in FeatureLoader(features, 16, stages[0][0], shuffle=True, window=stages[0][3])
    ]
    drawn: list[list[int]] = []
    state = None
    for residence, ranks, threads, window, batches in [*stages, ("host", 1, 1, None, 99)]:
        loaders = [
            FeatureLoader(
                features,
                16,
                "host" if rank and mixed and drawn else residence,
                shuffle=True,
                window=window,
                rank=rank,
                ranks=ranks,
                threads=threads,
            )
            for rank in range(ranks)
        ]
        for loader in loaders:
            if state is not None:
                loader.load_state_dict(json.loads(json.dumps(state)))
        left = min(batches, len(truth) - len(drawn))
        together = itertools.islice(zip(*loaders, strict=True), left)
        drawn += [sorted(row for share in shares for row in share.samples.tolist()) for shares in together]
        state = loaders[0].state_dict()
        assert all(loader.state_dict() == state for loader in loaders)
        if len(drawn) == len(truth):
            break
    assert drawn == [sorted(batch) for batch in truth]


@pytest.mark.slow  # `runs/test_ranks.py` trains on the shares of two ranks, from memory and streamed
@pytest.mark.parametrize("ranks", [2, 3])
def test_torchrun_covers_each_sample_once(store_folder: Path, tmp_path: Path, ranks: int) -> None:
    """Processes that torchrun starts, over gloo, have each sample once in an epoch, from memory and streamed."""
    script = Path(__file__).parents[3] / "docs" / "examples" / "torchrun_ranks.py"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    done = subprocess.run(
        [*command, str(script), str(store_folder), "small:train", str(tmp_path / "rows.json")],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    drawn = json.loads((tmp_path / "rows.json").read_text(encoding="utf-8"))
    assert drawn.keys() == {"host", "stream"}
    for rows in drawn.values():
        assert sorted(rows) == [row for row in range(150) if row != 3]


def test_subsets(features: FeatureSet) -> None:
    """A subset by number, by mask or by column has its rows, each once, from memory and streamed."""
    label = features.read().label
    for rows in ([5, 3, 140, 0], np.arange(150) % 3 == 0, rows_where(features, "label", 1)):
        ascending = np.flatnonzero(rows) if np.asarray(rows).dtype == bool else np.sort(rows)
        expected = [row for row in ascending.tolist() if row != 3]
        for residence in ("host", "stream"):
            for shuffle in (False, True):
                loader = FeatureLoader(features, 16, residence, shuffle=shuffle, rows=rows)
                found = [row for batch in loader for row in batch.samples.tolist()]
                assert sorted(found) == expected
                assert shuffle or found == expected
    assert (label[rows_where(features, "label", 1)] == 1).all()


def test_wrong_subsets(features: FeatureSet) -> None:
    """Rows outside the set, duplicates, no rows, only skipped rows, a mask of another length, an unknown column or value are rejected."""
    for rows, message in (
        ([150], "rows must be from 0 to 149, got 150"),
        ([-1, 4], "got -1"),
        ([2, 2], "rows has duplicates"),
        ([], "rows is empty"),
        ([3], "all were skipped"),
        (np.ones(9, bool), "a mask of shape"),
        ([1.5], "row numbers or a mask"),
    ):
        with pytest.raises(UsageError, match=message):
            FeatureLoader(features, 16, rows=rows)
    with pytest.raises(
        UsageError, match=r"no column 'speaker'; its columns are nnz, n_bins, label, n_events"
    ):
        rows_where(features, "speaker", 0)
    with pytest.raises(UsageError, match=r"no row of .* has label in"):
        rows_where(features, "label", [7])


def test_hold_out_by_speaker_and_by_seed() -> None:
    """The result is deterministic, disjoint and complete; a speaker is in one part only."""
    plain = small_set(640, extras=("speaker", "n_events"))
    plain.truth.extras["speaker"][:] = np.arange(640) % 10
    features = plain.build(memory_storage(), 128)
    speaker = features.column("speaker")
    everyone = [row for row in range(640) if row not in plain.skipped]
    for by in ("sample", "speaker"):
        kept, held = hold_out(features, 0.2, seed=1, by=by)
        assert sorted([*kept, *held]) == everyone
        assert 0.15 < len(held) / len(everyone) < 0.25
        again = hold_out(features, 0.2, seed=1, by=by)
        assert all(np.array_equal(a, b) for a, b in zip((kept, held), again, strict=True))
        assert not np.array_equal(held, hold_out(features, 0.2, seed=2, by=by)[1])
        if by == "speaker":
            assert set(speaker[kept]).isdisjoint(speaker[held])
            assert len(set(speaker[held])) == 2
    for part in (0.0, 1.0, -1):
        with pytest.raises(UsageError, match="above 0 and below 1"):
            hold_out(features, part)


def test_a_damaged_column_is_named(store_folder: Path, tmp_path: Path) -> None:
    """No subset is selected by a column that differs from the committed one."""
    folder = shutil.copytree(store_folder, tmp_path / "store")
    features = Store(folder)["small:train"]
    path = folder / features.data_path / "label" / "c" / "1"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamagedError, match=r"label/c/1 in .* is damaged"):
        rows_where(features, "label", 1)
    path.unlink()
    with pytest.raises(DamagedError, match="label/c/1 is missing"):
        rows_where(features, "label", 1)


def test_weights(features: FeatureSet) -> None:
    """There are as many draws as samples, in proportion to the weights; rows of weight 0 never come; each epoch has other draws."""
    weights = np.zeros(150)
    weights[10:20], weights[20] = 1.0, 10.0
    loader = FeatureLoader(features, 16, weights=weights)
    epochs = [[row for batch in loader for row in batch.samples.tolist()] for _ in range(4)]
    assert {len(epoch) for epoch in epochs} == {149}
    assert epochs[0] != epochs[1]
    drawn = np.bincount(np.concatenate(epochs), minlength=150)
    assert not drawn[weights == 0].any()
    assert 0.4 < drawn[20] / drawn.sum() < 0.6
    for wrong, message in ((weights[:9], "shape"), (-weights, "not negative"), (np.zeros(150), "not all 0")):
        with pytest.raises(UsageError, match=message):
            FeatureLoader(features, 16, weights=wrong)
