"""Fixtures: a small store with two splits of separable classes, without recordings."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.store.small_sets import SmallSet, small_set

from spikestore.store import FeatureSet, SampleColumns, Store
from spikestore.train.neurons.linear import cpu_autograd

NAME = "small"

THREADS = int(os.environ.get("TESTS_THREADS", "1"))
"""Threads of torch; ``make bits`` sets another number."""


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    # OpenMP's threads wait by spinning: on a busy machine two of them are slower than one.
    torch.set_num_threads(THREADS)


def learnable(split: str, samples: int, seed: int) -> SmallSet:
    """Return a set whose label follows from the place of the spikes: sites 0 to 4, or 5 to 9."""
    plain = small_set(samples, seed=seed, split=split, silent=range(0), skipped=(3,))
    label = np.where(plain.truth.label == 1, 5, 0)
    rows = np.repeat(np.arange(samples), plain.truth.nnz)
    index = plain.truth.index.astype(np.int64)
    moved = index // 10 * 10 + index % 5 + label[rows]
    # Two non-zeros at the same place become one.
    _, kept = np.unique(rows * 10_000 + moved, return_index=True)
    truth = SampleColumns(
        index=moved[kept],
        value=plain.truth.value[kept],
        nnz=np.bincount(rows[kept], minlength=samples),
        n_bins=plain.truth.n_bins,
        label=plain.truth.label,
        extras=plain.truth.extras,
    )
    return SmallSet(
        plain.transform,
        plain.source,
        plain.layout,
        plain.n_events,
        truth.as_stored(plain.layout),
        plain.skipped,
    )


@pytest.fixture(scope="session")
def store_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store with the splits ``small:train`` (150 rows, row 3 skipped) and ``small:valid`` (70 rows)."""
    folder = tmp_path_factory.mktemp("train") / "store"
    store = Store(folder)
    splits = {"train": learnable("train", 150, 1), "valid": learnable("valid", 70, 2)}
    store.point(NAME, {split: one.build(store.storage) for split, one in splits.items()})
    return folder


@pytest.fixture(scope="session")
def features(store_folder: Path) -> FeatureSet:
    """Return the train split."""
    return Store(store_folder)[f"{NAME}:train"]


@pytest.fixture
def joint_steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that counts how often a linear layer and its neurons run as one step."""
    calls: list[int] = []
    apply: Any = cpu_autograd.LinearIAF.apply

    def counting(*them: Any) -> Any:
        calls.append(1)
        return apply(*them)

    monkeypatch.setattr(cpu_autograd.LinearIAF, "apply", counting)
    return calls
