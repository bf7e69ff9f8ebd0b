"""The order of an epoch."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from spikestore.train import epoch_order

DIGEST = "ab" * 32
PINNED = [3, 6, 5, 7, 2, 1, 4, 0]


@given(st.integers(0, 3000), st.integers(), st.integers(0, 2**40))
def test_is_a_permutation(samples: int, seed: int, epoch: int) -> None:
    """Every sample comes exactly once."""
    order = epoch_order(samples, seed=seed, epoch=epoch, digest=DIGEST)
    assert np.array_equal(np.sort(order), np.arange(samples))


def test_is_a_pure_function() -> None:
    """The same arguments give the same order, which is pinned here for ever; any other argument gives another."""
    order = epoch_order(8, seed=0, epoch=0, digest=DIGEST)
    assert order.tolist() == PINNED
    others = [
        epoch_order(100, seed=seed, epoch=epoch, digest=digest).tolist()
        for seed in (0, 1)
        for epoch in (0, 1)
        for digest in (DIGEST, "cd" * 32)
    ]
    assert len({tuple(one) for one in others}) == len(others)


def test_is_uniform() -> None:
    """Over many epochs each sample is at each position about equally often (chi-squared, 5 sigma)."""
    samples, epochs = 12, 6000
    counts = np.zeros((samples, samples))
    for epoch in range(epochs):
        counts[np.arange(samples), epoch_order(samples, seed=3, epoch=epoch, digest=DIGEST)] += 1
    expected = epochs / samples
    chi_squared = ((counts - expected) ** 2 / expected).sum()
    freedom = (samples - 1) ** 2
    assert abs(chi_squared - freedom) < 5 * np.sqrt(2 * freedom)


def test_neighbouring_epochs_are_unrelated() -> None:
    """Positions in one epoch say nothing about positions in the next."""
    first, second = (np.argsort(epoch_order(5000, seed=0, epoch=epoch, digest=DIGEST)) for epoch in (0, 1))
    assert abs(np.corrcoef(first, second)[0, 1]) < 5 / np.sqrt(5000)
