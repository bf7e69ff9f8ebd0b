"""Rows that compare each preset with the augmentations of the paper that the preset is named after.

Functions such as `masks` do what the code of these papers does, on the dense frames of a batch of 128 samples, on one core.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.augmentation.throughput import BATCH, Bench, Shape
from benchmarks.form import Row, compare, timed

SPEECH = Shape(bins=100, sites=(1, 140), density=0.05)
CAMERA = Shape(bins=10, sites=(2, 48, 48), density=0.05)

_Frames = npt.NDArray[np.float32]
_random = np.random.default_rng(0)


def masks(x: _Frames, chance: float, bins: int | None, share: float, channels: int) -> None:
    """Set a range of time bins of each sample to 0, and a range of channels, each with the probability `chance`. SNN-delays and SpikCommander do the same.

    The range of bins has the given `share` of all bins or, if `bins` is a number, fewer than `bins` bins. The range of channels has fewer than `channels`.
    """
    for sample in x:
        steps, neurons = sample.shape
        if _random.uniform() < chance:
            size = int(share * steps) if bins is None else _random.integers(0, bins)
            start = _random.integers(0, steps - (size if bins is None else bins))
            sample[start : start + size, :] = 0
        if _random.uniform() < chance:
            size, start = _random.integers(0, channels), _random.integers(0, neurons - channels)
            sample[:, start : start + size] = 0


def snn_delays(x: _Frames, y: _Frames) -> None:
    """Mask bins and channels, and replace a range of bins by the same range of bins from the next sample."""
    x = x.reshape(len(x), SPEECH.bins, -1)
    masks(x, 0.65, 8, 0, 28)
    for i in range(len(x) - 1):
        if _random.uniform() < 0.5:
            part = _random.uniform()
            size = int(part * SPEECH.bins)
            start = _random.integers(0, SPEECH.bins - size)
            x[i, start : start + size, :] = x[i + 1, start : start + size, :]
            y[i] = (1 - part) * y[i] + part * y[i + 1]


def spikcommander(x: _Frames, y: _Frames) -> None:
    """With a chance of one half each, mask a fifth of the time bins of a sample, and up to 19 adjacent channels."""
    masks(x.reshape(len(x), SPEECH.bins, -1), 0.5, None, 0.2, 20)


def eventmix(x: _Frames, y: _Frames) -> None:
    """In a random region, replace the counts of a sample by the counts of another sample; mix the labels. Uses torch, like the authors' code.

    The region is where a mixture of Gaussians exceeds a random quantile of its own values.
    """
    import torch

    originals = torch.from_numpy(x.copy())
    for i in range(len(x)):
        j = int(_random.integers(len(x)))
        first, other = torch.from_numpy(x[i]), originals[j]
        part = _random.uniform()
        size = first.shape[0], first.shape[2], first.shape[3]
        density, grid = torch.zeros(size), torch.meshgrid(*map(torch.arange, size), indexing="ij")
        for weight in _random.uniform(size=_random.integers(2, 5)):
            exponent = torch.zeros(size)
            for at, axis in zip(grid, size, strict=True):
                deviation = max(_random.uniform(), 0.1) * axis * 0.5
                exponent += (at - int(_random.integers(axis))) ** 2 / deviation**2
            density += weight * torch.exp(-exponent / 2)
        value = density.flatten().sort()[0][int(density.numel() * part) - 1]
        mask = (density > value).unsqueeze(1).repeat(1, 2, 1, 1)
        own = first[mask].sum() / first.sum()
        taken = other[mask].sum() / other.sum()
        first[mask] = other[mask]
        share = float(1 - taken / (1 - own + taken))
        y[i] = share * y[i] + (1 - share) * y[j]


def event_drop(x: _Frames, y: _Frames) -> None:
    """Drop counts of dense frames by time, by area or at random; the authors' code drops events from a list."""
    for sample in x:
        option = _random.integers(0, 4)
        if option == 1:
            size, first = (
                int(_random.integers(1, 10) / 10 * len(sample)),
                int(_random.uniform() * len(sample)),
            )
            sample[first : first + size] = 0
        elif option == 2:
            ratio, spans = _random.integers(1, 6) / 20, []
            for size in sample.shape[2:]:
                first = int(max(0, _random.uniform() * size - size * ratio / 2))
                spans.append(slice(first, int(first + size * ratio) + 1))
            sample[:, :, spans[0], spans[1]] = 0
        elif option == 3:
            sample[...] = _random.binomial(sample.astype(np.int64), 1 - _random.integers(1, 10) / 10)


PAPERS: dict[str, tuple[Shape, Callable[[_Frames, _Frames], None]]] = {
    "snn-delays": (SPEECH, snn_delays),
    "spikcommander-shd": (SPEECH, spikcommander),
    "eventmix": (CAMERA, eventmix),
    "event-drop": (CAMERA, event_drop),
}


def against_paper(name: str) -> Row:
    """Compare how many samples/s this package and the function of a paper in `PAPERS` augment.

    This package makes an augmented dense batch from packed columns. The paper's function augments dense frames; the measured
    time includes copying these frames.
    """
    from spikestore.train import preset

    bench = Bench(PAPERS[name][0], threads=1)

    def ours() -> float:
        return bench.throughput(preset(name), samples=4 * BATCH)

    row = Row(f"{name} against the paper's function", 5, 20)
    return compare(row, ours, _rate_of_paper(name, *bench.dense()), unit="samples/s")


def copy_against_paper(name: str) -> Row:
    """Bound of `against_paper`: speed of a copy of the dense frames into allocated memory, divided by the speed of the paper's function.

    Our code writes as many bytes as this copy, so it cannot be much faster than this copy.
    """
    frames, labels = Bench(PAPERS[name][0], threads=1).dense()
    out = np.empty_like(frames)

    def copy() -> float:
        return BATCH / timed(lambda: np.copyto(out, frames))

    row = Row(f"bound: a copy of the frames against the function of {name}")
    return compare(row, copy, _rate_of_paper(name, frames, labels), unit="samples/s")


def _rate_of_paper(name: str, frames: _Frames, labels: _Frames) -> Callable[[], float]:
    """Return a callable that measures a paper's function on a copy of a batch, in samples/s."""
    function = PAPERS[name][1]
    return lambda: BATCH / timed(lambda: function(frames.copy(), labels.copy()))


def measures() -> list[Any]:
    """Return one function for each row: `against_paper` of each paper, and `copy_against_paper` of each paper except EventMix."""

    def measure_of(row: Callable[[str], Row], name: str, text: str) -> Any:
        def measure() -> Row:
            return row(name)

        measure.__name__ = text
        return measure

    return [
        *(measure_of(against_paper, name, f"{name} against the paper's function") for name in PAPERS),
        *(
            measure_of(
                copy_against_paper, name, f"bound: a copy of the frames against the function of {name}"
            )
            for name in ("snn-delays", "spikcommander-shd", "event-drop")
        ),
    ]
