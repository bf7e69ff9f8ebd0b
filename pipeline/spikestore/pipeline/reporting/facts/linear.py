"""A linear read-out of the frames: ridge regression to the classes, in closed form."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from spikestore.pipeline.reporting.facts.scan import Piece, summed

PARTS = 8
"""Number of parts of time whose events are summed for the read-out of a whole set."""

MOST_SITES = 128
"""Maximum number of groups of sites for the read-out of a whole set; neighbours are summed until there are at most this many groups."""

PENALTY = 0.1
"""Penalty of the squared weights, as a share of the mean diagonal element of XᵀX for centred inputs X, or of X·Xᵀ in the dual form; constant, so that reports can be compared."""

MOST_HELD_OUT = 4096
"""Approximate maximum number of held-out samples; their inputs stay in memory."""

MOST_CLASSES = 1000
"""Maximum number of classes of a confusion matrix, whose memory grows with the square of this number."""

_Floats = npt.NDArray[np.float64]


class SiteGroups(NamedTuple):
    """Groups of neighbouring sites."""

    group: npt.NDArray[np.int64]
    """Group of each site, shape (sites,)."""
    number: int


def site_groups(sites: tuple[int, ...], most: int) -> SiteGroups:
    """Return the group of each site, and the number of groups.

    A group consists of neighbouring sites of one polarity. There are at most `most` groups, unless there are more polarities than `most`.

    Parameters
    ----------
    sites : tuple of int
        Sizes (polarity, [y,] x).
    most : int
        Wanted maximum number of groups.
    """
    factors = [1] * len(sites)

    def sizes() -> list[int]:
        return [-(-size // factor) for size, factor in zip(sites, factors, strict=True)]

    while int(np.prod(sizes())) > most and max(sizes()[1:]) > 1:
        widest = 1 + int(np.argmax(sizes()[1:]))
        factors[widest] *= 2
    places = np.unravel_index(np.arange(int(np.prod(sites))), sites)
    coarse = [place // factor for place, factor in zip(places, factors, strict=True)]
    return SiteGroups(np.ravel_multi_index(coarse, sizes()).astype(np.int64), int(np.prod(sizes())))


class Inputs:
    """Computes the inputs of the read-out: one input for each pair of a time part and a group of sites.

    For counts, an input is log(1 + number of events). For real numbers, it is sign(sum) · log(1 + abs(sum)).

    Parameters
    ----------
    sites : tuple of int
        Sizes (polarity, [y,] x).
    bins_per_part : int
        Number of time bins of a part. There are `PARTS` parts; the last part takes all later bins.
    """

    def __init__(self, sites: tuple[int, ...], bins_per_part: int) -> None:
        self._groups = site_groups(sites, MOST_SITES)
        self._bins_per_part = bins_per_part
        self.size = PARTS * self._groups.number

    def of(self, piece: Piece) -> npt.NDArray[np.float32]:
        """Return the read-out's inputs for the samples of a piece, shape (rows, `size`)."""
        part = np.minimum(piece.time_bin // piece.time_bin.dtype.type(self._bins_per_part), PARTS - 1)
        place = (piece.row * PARTS + part.astype(np.int64)) * self._groups.number
        place += self._groups.group[piece.site]
        counts = summed(place, piece.columns.value, len(piece) * self.size)
        sums = counts.astype(np.float32)
        inputs: npt.NDArray[np.float32] = np.log1p(np.abs(sums))
        if piece.columns.value.dtype.kind == "f":
            np.copysign(inputs, sums, out=inputs)
        return inputs.reshape(len(piece), self.size)


class ReadOut(NamedTuple):
    """A fitted read-out."""

    weights: _Floats
    """Shape (inputs, classes)."""
    bias: _Floats
    """Shape (classes,)."""

    def classes_of(self, inputs: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        """Return the class that the read-out predicts for each sample, shape (rows,)."""
        found: npt.NDArray[np.int64] = np.argmax(inputs @ self.weights + self.bias, axis=1)
        return found


class LinearFit:
    """Observer that collects what the fit of the read-out needs: sums of the inputs and of their products.

    Parameters
    ----------
    inputs : Inputs
        Computes the inputs of the read-out.
    classes : int
        Number of classes.
    hold_out : int
        If it is not 0, rows 0, `hold_out`, 2 · `hold_out` and so on are left out of the fit, and the accuracy is measured
        with them.
    """

    def __init__(self, inputs: Inputs, classes: int, hold_out: int) -> None:
        self._inputs = inputs
        self._hold_out = hold_out
        self._samples = np.zeros(classes)
        self._products = np.zeros((inputs.size, inputs.size))
        self._sums = np.zeros((classes, inputs.size))
        self._held: list[tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]] = []

    def add(self, piece: Piece) -> None:
        """Process the next piece of the set."""
        label = piece.columns.label.astype(np.int64)
        inputs, rows = self._inputs.of(piece), piece.first_row + np.arange(len(piece))
        held = (rows % self._hold_out == 0 if self._hold_out else np.zeros(len(piece), bool)) & (label >= 0)
        if held.any():
            self._held.append((inputs[held], label[held]))
        fitted = (label >= 0) & ~held
        inputs, label = inputs[fitted], label[fitted]
        self._products += inputs.T @ inputs
        present = np.unique(label)  # a set may have far more classes than a piece has samples
        one_hot = (label[:, None] == present).astype(np.float32)
        self._sums[present] += one_hot.T @ inputs
        self._samples[present] += one_hot.sum(axis=0)

    @property
    def samples(self) -> int:
        """Number of samples of the fit."""
        return int(self._samples.sum())

    def read_out(self) -> ReadOut:
        """Return the fitted read-out; at least one sample must have been added."""
        mean = self._sums.sum(axis=0) / self.samples
        products = self._products - self.samples * np.outer(mean, mean)
        targets = self._sums - self._samples[:, None] * mean
        weights = _solve(products, targets.T)
        return ReadOut(weights, self._samples / self.samples - mean @ weights)

    def held_out(self, read_out: ReadOut) -> Comparison:
        """Compare the labels of the held-out samples with the classes that the read-out predicts."""
        comparison = Comparison(len(self._samples))
        for inputs, label in self._held:
            comparison.add(label, read_out.classes_of(inputs))
        return comparison


class Comparison:
    """Comparison of true classes with the classes that a read-out finds.

    Parameters
    ----------
    classes : int
        Number of classes.
    """

    def __init__(self, classes: int) -> None:
        self.correct = 0
        """Number of samples whose class was found."""
        self.samples = np.zeros(classes, np.int64)
        """Number of samples of each true class, shape (classes,)."""
        self.confusion = np.zeros((classes, classes), np.int64) if classes <= MOST_CLASSES else None
        """Number of samples by true class and found class, shape (classes, classes); None for more than `MOST_CLASSES` classes."""

    def add(self, label: npt.NDArray[np.int64], found: npt.NDArray[np.int64]) -> None:
        """Add samples; `label` has their true classes, `found` the classes that were found."""
        classes = len(self.samples)
        self.correct += int(np.count_nonzero(label == found))
        self.samples += np.bincount(label, minlength=classes)
        if self.confusion is not None:
            pairs = np.bincount(label * classes + found, minlength=classes**2)
            self.confusion += pairs.reshape(classes, classes)


class Predictions:
    """Observer that compares the classes that a read-out predicts with the labels; the result is `comparison`.

    Parameters
    ----------
    inputs : Inputs
        Computes the inputs of the read-out.
    read_out : ReadOut
        The read-out.
    classes : int
        Number of classes.
    """

    def __init__(self, inputs: Inputs, read_out: ReadOut, classes: int) -> None:
        self._inputs, self._read_out = inputs, read_out
        self.comparison = Comparison(classes)

    def add(self, piece: Piece) -> None:
        """Process the next piece of the set."""
        label = piece.columns.label.astype(np.int64)
        found = self._read_out.classes_of(self._inputs.of(piece))
        self.comparison.add(label[label >= 0], found[label >= 0])


def dual_accuracy(
    fitted: npt.NDArray[np.float32],
    label: npt.NDArray[np.int64],
    tested: npt.NDArray[np.float32],
    test_label: npt.NDArray[np.int64],
) -> float:
    """Fit a ridge read-out, and return the share of test samples that it classifies correctly.

    The dual form of the regression is solved; if there are fewer samples to fit than inputs, the dual form is faster.

    Parameters
    ----------
    fitted, tested : float32 array, shape (samples, inputs)
        Inputs of the samples to fit and to test; both are centred in place.
    label, test_label : int64 array, shape (samples,)
        Classes of the samples to fit and to test.
    """
    classes = np.unique(label)
    mean = fitted.mean(axis=0)
    fitted -= mean
    tested -= mean
    one_hot = (label[:, None] == classes).astype(np.float64)
    prior = one_hot.mean(axis=0)
    dual = _solve((fitted @ fitted.T).astype(np.float64), one_hot - prior)
    found = classes[np.argmax((tested @ fitted.T) @ dual + prior, axis=1)]
    return float(np.mean(found == test_label))


def _solve(products: _Floats, targets: _Floats) -> _Floats:
    """Return the solution of a ridge regression; `products` is XᵀX for inputs X, or X·Xᵀ in the dual form."""
    # Without any variance, every penalty gives weights of 0.
    penalty = PENALTY * np.trace(products) / len(products) or 1.0
    weights = np.linalg.solve(products + penalty * np.eye(len(products)), targets)
    return weights.astype(np.float64, copy=False)
