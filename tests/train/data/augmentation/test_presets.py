"""Presets: the frames and labels of each paper's own function, written out on dense frames, with the numbers that we draw."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from tests.train.data.augmentation.plain_draws import (
    FIRST_ROW,
    SEED,
    PlainBatch,
    bits_of,
    event_lost,
    lost,
    redrawn,
    several,
    uniform,
)
from tests.train.data.augmentation.plain_mixtures import partner_of, region
from tests.train.data.augmentation.test_steps import compiled, packed

from spikestore.store_schemas.errors import UsageError
from spikestore.train import preset
from spikestore.train.data.augmentation.presets import PRESETS
from spikestore.train.data.augmentation.tables import checked_tables
from spikestore.train.data.frames.step_augmentation import Augmentations

Array = npt.NDArray[np.float64]
SAMPLES, BINS = 6, 30


class Draws:
    """The random numbers of one augmentation for one sample, one after the other."""

    def __init__(self, kind: int, sample: int) -> None:
        self.bits = bits_of(kind, FIRST_ROW + sample)

    def next(self) -> int:
        """Return random bits."""
        now, self.bits = self.bits, redrawn(self.bits)
        return now

    def whole(self, count: int) -> int:
        """Return a number below count, as np.random.randint(0, count) does."""
        return (self.next() >> 11) % count

    def tenths(self, count: int) -> float:
        """Return a number of tenths, from 0.1 to `count` / 10."""
        return (1 + self.whole(count)) / 10


def masks(x: Array, y: Array, chance: float, time: Callable[[Draws], int], neurons: int) -> None:
    """Mask time, then neurons, as TimeNeurons_mask_aug of SNN-delays and SpikCommander does; x has shape (batch, time, neurons)."""
    for sample, frames in enumerate(x):
        draws = Draws(10, sample)
        size = time(draws)
        start = draws.whole(len(frames) - size + 1)
        if lost(draws.next(), chance):
            frames[start : start + size, :] = 0
        draws = Draws(11, sample)
        size = draws.whole(neurons)
        start = draws.whole(frames.shape[1] - size + 1)
        if lost(draws.next(), chance):
            frames[:, start : start + size] = 0


def snn_delays(x: Array, y: Array) -> None:
    """Mask, and take adjacent bins of another sample: a drawn one, where the paper's code takes the next of the batch."""
    masks(x, y, 0.65, lambda draws: draws.whole(8), 28)
    before, labels = x.copy(), y.copy()
    for i in range(len(x)):
        j = partner(16, i, 0.5)
        if j is not None:
            part_bits, start_bits = several(bits_of(16, FIRST_ROW + i), 4)[2:]
            part = uniform(part_bits)
            size = int(part * before[j].shape[0])
            start = (start_bits >> 11) % (len(x[i]) - size)
            x[i][start : start + size, :] = before[j][start : start + size, :]
            y[i] = (1 - part) * labels[i] + part * labels[j]


def spikcommander(share: float, neurons: int) -> Callable[[Array, Array], None]:
    """Return the function that masks a share of the time bins, and up to `neurons` - 1 neurons."""

    def change(x: Array, y: Array) -> None:
        def time(draws: Draws) -> int:
            draws_unused = (
                draws.next()
            )  # ours draws a width even where it is fixed: the start is the second number
            draws.bits = redrawn(draws_unused)
            return int(share * x.shape[1])

        masks(x, y, 0.5, time, neurons)

    return change


def partner(kind: int, sample: int, chance: float) -> int | None:
    """Return the number of the sample that is mixed in, or None."""
    batch = PlainBatch([np.zeros((1, 1, 1, 1), np.int64)] * SAMPLES, np.zeros((SAMPLES, 3)), [0] * SAMPLES)
    return partner_of(batch, sample, bits_of(kind, FIRST_ROW + sample), chance, same=False)


@pytest.mark.parametrize(
    ("name", "paper"),
    [
        ("snn-delays", snn_delays),
        ("spikcommander-shd", spikcommander(0.2, 20)),
        ("spikcommander-ssc", spikcommander(0.1, 10)),
    ],
)
def test_masks_are_those_of_the_papers(name: str, paper: Callable[[Array, Array], None]) -> None:
    """Presets mask frames of 40 channels as the functions of the papers do."""
    random = np.random.default_rng(1)
    x = random.integers(1, 5, (SAMPLES, BINS, 40)).astype(float)
    labels = [0, 1, 2, 0, 1, 2]
    y = np.eye(3)[labels]
    columns = packed([one.astype(np.int64).reshape(BINS, 1, 1, 40) for one in x], labels)
    frames, mixed = compiled(columns, Augmentations(preset(name, SEED), 3))
    paper(x, y)
    assert np.array_equal(frames.reshape(x.shape), x)
    if mixed.is_floating_point():
        np.testing.assert_allclose(mixed, y, atol=1e-6)
    else:
        assert mixed.tolist() == labels


def eventprop_blend(
    x: list[Array], t: list[Array], keeps: list[list[bool]], most: tuple[int, int]
) -> tuple[Array, Array]:
    """Blend events as `blend` of genn_eventprop: move to the common centre, keep some, drop what leaves; x and t of each sample."""
    mx, mt = [one.mean() for one in x], [one.mean() for one in t]
    x = [one + int(np.mean(mx) - own) for one, own in zip(x, mx, strict=True)]
    t = [one + int(np.mean(mt) - own) for one, own in zip(t, mt, strict=True)]
    new_x = np.concatenate([one[keep] for one, keep in zip(x, keeps, strict=True)])
    new_t = np.concatenate([one[keep] for one, keep in zip(t, keeps, strict=True)])
    kept = (new_t >= 0) & (new_t < most[0]) & (new_x >= 0) & (new_x < most[1])
    return new_x[kept], new_t[kept]


def test_blend_is_that_of_eventprop() -> None:
    """Half of the samples are blended with one of their class; then channels move, as `random_shift` of genn_eventprop does."""
    random, bins, channels = np.random.default_rng(5), 40, 60
    labels = [0, 1, 0, 1, 0, 0, 1, 0]
    # Samples whose centres differ.
    counts = [
        random.poisson(np.outer(np.hanning(bins + 2 * k)[:bins], np.linspace(0, 1, channels) ** k))
        for k, _ in enumerate(labels)
    ]
    frames, mixed = compiled(
        packed([one.reshape(bins, 1, 1, channels) for one in counts], labels),
        Augmentations(preset("eventprop", SEED), 3),
    )
    assert mixed.tolist() == labels
    batch = PlainBatch(
        [one.reshape(bins, 1, 1, channels) for one in counts], np.zeros((len(labels), 3)), labels
    )
    events: list[tuple[Any, ...]] = []  # time, channel, index of the cell and number of the event within it
    for one in counts:
        cells = np.repeat(np.flatnonzero(one), one.ravel()[np.flatnonzero(one)])
        events.append(
            (
                cells // channels,
                cells % channels,
                cells,
                np.concatenate([np.arange(n) for n in one.ravel() if n]),
            )
        )
    blended = 0
    for i in range(len(labels)):
        bits = bits_of(18, FIRST_ROW + i)
        j = partner_of(batch, i, bits, 0.5, same=True)
        t: Array = events[i][0]
        x: Array = events[i][1]
        if j is not None:
            blended += 1
            keeps = [
                [
                    event_lost(redrawn(drawn ^ int(cell)), int(n), 0.5) == wanted
                    for cell, n in zip(*events[k][2:], strict=True)
                ]
                for k, drawn, wanted in zip((i, j), several(bits, 4)[2:], (False, True), strict=True)
            ]
            x, t = eventprop_blend(
                [events[i][1], events[j][1]], [events[i][0], events[j][0]], keeps, (bins, channels)
            )
        x = x + (bits_of(8, FIRST_ROW + i) >> 11) % 79 - 39  # int(rng.uniform(-40, 40))
        inside = (x >= 0) & (x < channels)
        expected = np.zeros((bins, channels))
        np.add.at(expected, (t[inside].astype(int), x[inside].astype(int)), 1)
        assert np.array_equal(frames[i].reshape(bins, channels), expected), i
    assert 0 < blended < len(labels)


@pytest.mark.parametrize("name", ["eventmix", "eventmix-cutmix"])
def test_mixtures_are_those_of_eventmix(name: str) -> None:
    """Presets mix frames of shape (time, polarity, y, x) as EventMix does, and labels by events or by area."""
    random = np.random.default_rng(2)
    size, labels = (8, 2, 6, 7), [0, 1, 2, 0, 1, 2]
    x = [random.integers(0, 4, size) for _ in labels]
    frames, mixed = compiled(packed(x, labels), Augmentations(preset(name, SEED), 3))
    kind = 17 if name == "eventmix" else 16
    for i, own in enumerate(x):
        j = partner(kind, i, 1.0)
        assert j is not None
        bits, mask = several(bits_of(kind, FIRST_ROW + i), 34)[2:], np.zeros(size, bool)
        if name == "eventmix":
            mask |= region((8, 6, 7), bits)[
                :, None
            ]  # GMM_mask, whose quantile is the density at a random place
            x1_rat, x2_rat = own[mask].sum() / own.sum(), x[j][mask].sum() / x[j].sum()
            lam = 1.0 - (x2_rat / (1.0 - x1_rat + x2_rat))
        else:
            cut_rat, box = np.sqrt(uniform(bits[0])), []
            for axis, drawn in zip((7, 6), bits[1:3], strict=True):  # rand_bbox
                cut, centre = int(axis * cut_rat), (drawn >> 11) % axis
                box.append(slice(max(centre - cut // 2, 0), min(centre + cut // 2, axis)))
            mask[:, :, box[1], box[0]] = True
            lam = 1 - mask[0, 0].sum() / (6 * 7)
        assert np.array_equal(frames[i], np.where(mask, x[j], own))
        expected = lam * np.eye(3)[labels[i]] + (1 - lam) * np.eye(3)[labels[j]]
        np.testing.assert_allclose(mixed[i], expected, atol=1e-6)


def event_drop(frames: Array, sample: int) -> Array:
    """Drop by time, by area or at random, or drop nothing, as event_drop of the paper; frames of shape (time, polarity, y, x).

    Where the paper's code keeps only events outside of the rows and of the columns of the area, its text, and this function, keep
    all that are outside of the rows or of the columns.
    """
    row = FIRST_ROW + sample
    chance, which = several(bits_of(19, row), 2)
    option = 1 + (which >> 11) % 3 if lost(chance, 0.75) else 0
    if option == 1:  # drop_by_time
        draws = Draws(10, sample)
        size = int(len(frames) * draws.tenths(9))
        start = draws.whole(len(frames) - size + 1)
        frames[start : start + size] = 0
    elif option == 2:  # drop_by_area
        area_ratio, (height, width) = 0.0, frames.shape[2:]
        ratio_bits, x_bits, y_bits = several(bits_of(22, row), 3)
        area_ratio = (1 + (ratio_bits >> 11) % 5) / 20.0
        x0, y0 = width * uniform(x_bits), height * uniform(y_bits)
        x_out, y_out = width * area_ratio, height * area_ratio
        x0, y0 = int(max(0, x0 - x_out / 2.0)), int(max(0, y0 - y_out / 2.0))
        x1, y1 = min(width, x0 + x_out), min(height, y0 + y_out)
        y, x = np.mgrid[:height, :width]
        frames = frames * ((x < x0) | (x > x1) | (y < y0) | (y > y1))
    elif option == 3:  # random_drop
        ratio = (1 + (bits_of(23, row) >> 11) % 9) / 10.0
        for at in np.flatnonzero(frames):
            cell = redrawn(bits_of(5, row) ^ int(at))
            gone = [event_lost(cell, event, ratio) for event in range(int(frames.flat[at]))]
            frames.flat[at] -= sum(gone)
    return frames


def nda(frames: Array, sample: int, most: int, degrees: int) -> Array:
    """Roll, rotate or shear; frames of shape (time, polarity, y, x)."""
    row = FIRST_ROW + sample
    aug = (several(bits_of(19, row), 2)[1] >> 11) % 3
    height, width = frames.shape[2:]
    if aug == 0:
        off1, off2 = ((bits >> 11) % (2 * most + 1) - most for bits in reversed(several(bits_of(20, row), 2)))
        return np.roll(frames, (off1, off2), (2, 3))
    bits = bits_of(14 if aug == 1 else 21, row)
    angle = np.radians(((bits >> 11) % (32 * degrees + 1) - 16 * degrees) / 16)
    # We round to multiples of 2**-16, which decides where a pixel goes that falls between two.
    cosine, sine, tangent = (round(65536 * of(angle)) / 65536 for of in (np.cos, np.sin, np.tan))
    out = np.zeros_like(frames)
    for y, x in np.ndindex(height, width):
        far_x, far_y = x - (width - 1) / 2, y - (height - 1) / 2
        if aug == 1:
            far_x, far_y = (
                cosine * far_x - sine * far_y,
                sine * far_x + cosine * far_y,
            )
        else:
            far_x += tangent * far_y
        new_x, new_y = (int(np.floor(far + size / 2)) for far, size in ((far_x, width), (far_y, height)))
        if 0 <= new_x < width and 0 <= new_y < height:
            out[:, :, new_y, new_x] += frames[:, :, y, x]
    return out


@pytest.mark.parametrize(
    ("name", "paper"),
    [
        ("event-drop", event_drop),
        ("nda-cifar10-dvs", lambda frames, sample: nda(frames, sample, 5, 30)),
        ("nda-ncaltech101", lambda frames, sample: nda(frames, sample, 3, 15)),
    ],
)
def test_choices_are_those_of_the_papers(name: str, paper: Callable[[Array, int], Array]) -> None:
    """Each of 24 samples is changed as the function of the paper changes it."""
    random = np.random.default_rng(3)
    x = [random.integers(0, 4, (10, 2, 11, 12)) for _ in range(24)]
    frames, labels = compiled(packed(x, [0] * len(x)), Augmentations(preset(name, SEED), 3))
    for sample, own in enumerate(x):
        assert np.array_equal(frames[sample], paper(own.astype(float), sample)), sample
    assert labels.tolist() == [0] * len(x)


def test_regions_have_any_size_alike() -> None:
    """The share that EventMix takes is uniform, as with beta = 1 in the paper: each quarter is about as frequent."""
    samples = [np.ones((4, 1, 5, 5), np.int64)] * 400
    frames, _ = compiled(
        packed([one * (1 + number % 2) for number, one in enumerate(samples)], [0] * 400),
        Augmentations(preset("eventmix", SEED), 3),
    )
    other = np.array([2, 1] * 200)
    taken = np.mean(frames.reshape(400, -1) == other[:, None], axis=1)
    mixed = taken[taken > 0]  # of samples with a partner of the other value
    counts, _ = np.histogram(mixed, [0, 0.25, 0.5, 0.75, 1])
    assert counts.min() > 0.6 * len(mixed) / 4


def test_every_preset_is_in_the_tests_and_has_a_paper() -> None:
    """Each also has a citation, and valid tables for a recipe; an unknown name is refused."""
    known = {"snn-delays", "spikcommander-shd", "spikcommander-ssc", "eventmix", "eventmix-cutmix"}
    known |= {"eventprop", "event-drop", "nda-cifar10-dvs", "nda-ncaltech101"}
    assert PRESETS.keys() == known
    assert all(one.citation and checked_tables({"preset": name}) for name, one in PRESETS.items())
    with pytest.raises(UsageError, match="seed must be a whole number, got '1'"):
        preset("eventmix", seed="1")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="unknown preset 'event-mix', did you mean 'eventmix'"):
        preset("event-mix")
