"""Steps of augmentations: the compiled loop and torch give the frames and labels of plain NumPy, with the same draws."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.train.data.augmentation.plain_augmentations import PLAIN
from tests.train.data.augmentation.plain_draws import CLASSES, EPOCH, FIRST_ROW, SEED, Frames, PlainBatch

from spikestore.store import FeatureSet
from spikestore.store_schemas.errors import UsageError
from spikestore.train import (
    Blend,
    ChannelJitter,
    ChannelMask,
    ChannelShift,
    CutMix,
    EventMix,
    EventThinning,
    FeatureLoader,
    OneOf,
    PolarityFlip,
    Rotate,
    TimeMask,
    TimeShift,
    Translate,
    UniformNoise,
    rows_where,
)
from spikestore.train.data.batch import SparseBatch, widen
from spikestore.train.data.frames import mixtures, random_bits
from spikestore.train.data.frames.augmentation_steps import GAUSSIANS, REGION, StepInput
from spikestore.train.data.frames.draw_kernels import NEAR, densities, tabulate
from spikestore.train.data.frames.frame_buffers import FrameBuffers
from spikestore.train.data.frames.parallel_for import ParallelFor
from spikestore.train.data.frames.sample_pointers import host_pointers
from spikestore.train.data.frames.step_augmentation import Augmentations, in_order
from spikestore.train.data.frames.step_kernels import mix_region, quotient
from spikestore.train.data.packed import PackedColumns


def packed(samples: list[Frames], labels: list[int]) -> PackedColumns:
    """Return samples as packed columns; their rows are consecutive."""
    places = [np.flatnonzero(one) for one in samples]
    counts = [len(one) for one in places]
    return PackedColumns(
        index=np.concatenate(places).astype(np.uint16),
        value=np.concatenate([one.ravel()[at] for one, at in zip(samples, places, strict=True)]).astype(
            np.uint16
        ),
        offsets=np.array([0, *itertools.accumulate(counts)], np.int64),
        n_bins=np.array([len(one) for one in samples], np.int32),
        label=np.array(labels, np.int64),
        rows=np.arange(FIRST_ROW, FIRST_ROW + len(samples)),
        extras={},
        set_rows=FIRST_ROW + len(samples),
        sites=samples[0].shape[1:],
        classes=("one", "two", "three"),
        digest="",
    )


def compiled(columns: PackedColumns, augment: Augmentations) -> tuple[npt.NDArray[np.float32], torch.Tensor]:
    """Return frames and labels of the compiled loop."""
    pointers = host_pointers(columns, np.arange(len(columns.n_bins)))
    labels = torch.from_numpy(pointers.labels)
    rows, lengths = torch.from_numpy(pointers.samples), torch.from_numpy(pointers.lengths)
    centres = torch.from_numpy(pointers.centres(ParallelFor(None, 1)))
    steps = augment.steps(StepInput(rows, lengths, labels, columns.sites, EPOCH, centres))
    shape = (len(pointers), pointers.longest, *columns.sites)
    frames = FrameBuffers().take(int(np.prod(shape))).reshape(len(pointers), -1)
    totals = pointers.fill(frames, ParallelFor(None, 1), steps)
    return frames.reshape(shape), augment.labels(labels, steps, torch.from_numpy(totals))


def _turn(number: int) -> int:
    one = PLAIN[number][0]
    return 1 if isinstance(one, Blend) else 0 if one.counts_events else 2


def check(chosen: Sequence[int], bins: list[int], draw: int) -> None:
    """Check that frames, labels and lengths after the chosen augmentations are those of plain NumPy."""
    random = np.random.default_rng(draw)
    samples = [
        random.integers(0, 9, (size, 2, 3, 4)) * (random.random((size, 2, 3, 4)) < 0.5) for size in bins
    ]
    classes = random.integers(0, CLASSES, len(bins)).tolist()
    expected = PlainBatch(samples, np.eye(CLASSES)[classes], classes)
    # Augmentations that count events apply first: after others, two non-zeros may be in one place.
    for number in sorted(chosen, key=_turn):
        expected = PLAIN[number][1](expected)
    augment = Augmentations([PLAIN[number][0] for number in chosen], CLASSES)
    columns = packed(samples, classes)
    dense, labels = compiled(columns, augment)
    batch = augment(
        host_pointers(columns, np.arange(len(bins))).packed(ParallelFor(None, 1)),
        EPOCH,
    )
    for frames, wanted in zip(dense, expected.frames, strict=True):
        assert np.array_equal(frames[: len(wanted)], wanted)
        assert not frames[len(wanted) :].any()
    assert np.array_equal(batch.dense().numpy(), dense)
    assert np.array_equal(batch.sparse_coo().to_dense().numpy(), dense)
    assert batch.lengths.tolist() == bins
    assert torch.equal(batch.labels, labels)
    if any(isinstance(PLAIN[number][0], CutMix | EventMix) for number in chosen):
        np.testing.assert_allclose(labels.numpy(), expected.labels, atol=1e-6)
    else:
        assert labels.tolist() == classes


@pytest.mark.parametrize("number", range(len(PLAIN)))
def test_each_is_that_of_plain_numpy(number: int) -> None:
    """In the compiled loop and in torch, for a batch whose samples differ in length."""
    check([number], [20, 9, 30, 1], draw=0)


def sequences() -> st.SearchStrategy[list[int]]:
    """Return lists of at most 6 numbers in PLAIN, of which at most 3 are of augmentations that mix samples."""
    mixing = st.sampled_from([[], [17], [18], [20, 17], [19, 18], [20, 17, 18]])
    single = st.lists(st.sampled_from([*range(17), *range(21, 29)]), min_size=1, max_size=3)
    # Before which of those that mix each of the others is applied.
    places = st.lists(st.integers(0, 3), min_size=3, max_size=3)

    def woven(parts: tuple[list[int], list[int], list[int]]) -> list[int]:
        mixing, single, places = list(parts[0]), parts[1], parts[2]
        for number, place in zip(single, places, strict=False):
            mixing.insert(min(place, len(mixing)), number)
        return mixing

    return st.tuples(mixing, single, places).map(woven)


@given(
    chosen=sequences(),
    bins=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    draw=st.integers(0, 2**32 - 1),
)
@example(chosen=[1, 3], bins=[3], draw=0)  # the jitter moves two counts to one place
@example(chosen=[16, 17, 16, 20, 0, 18], bins=[3, 7, 4, 4], draw=1)  # noise before and after mixtures
@example(chosen=[13, 28, 20], bins=[3, 7], draw=1)  # a choice that draws for each event comes first
@settings(max_examples=10, deadline=None)
def test_sequences_are_those_of_plain_numpy(chosen: list[int], bins: list[int], draw: int) -> None:
    """Any sequence of augmentations gives what plain NumPy gives."""
    check(chosen, bins, draw)


@pytest.mark.slow
@given(
    chosen=sequences(),
    bins=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    draw=st.integers(0, 2**32 - 1),
)
@settings(max_examples=80, deadline=None)
def test_many_sequences_are_those_of_plain_numpy(chosen: list[int], bins: list[int], draw: int) -> None:
    """More examples of the test before."""
    check(chosen, bins, draw)


def test_operations_of_torch_draw_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """The operations of torch, for devices without compiled loops, draw the numbers of these loops to the last bit."""
    rows, labels = torch.arange(5, 12), torch.tensor([0, 1, 0, 2, 1, 0, 1])
    batch = StepInput(rows, torch.tensor([9, 1, 4, 30, 2, 7, 7]), labels, (2, 30, 40), EPOCH)

    def drawn() -> list[torch.Tensor]:
        steps = [step for one, _ in PLAIN for step in one.steps(batch)]
        mixtures = [
            part
            for step in steps
            if step.mixture is not None
            for part in (step.mixture.partner, step.mixture.share, step.mixture.region)
        ]
        return [*(step.drawn for step in steps), *(part for part in mixtures if part is not None)]

    compiled_loops = drawn()
    monkeypatch.setattr(random_bits, "is_on_cpu", lambda _tensor: False)
    assert all(torch.equal(one, other) for one, other in zip(compiled_loops, drawn(), strict=True))


def test_operations_of_torch_mix_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Densities, shares and mixed labels of torch's operations are those of the compiled loops, to the last bit."""
    random = np.random.default_rng(0)
    size = 500
    lengths = random.integers(1, 250, size)
    places = [torch.from_numpy(random.integers(0, most, size)) for most in (lengths, 30, 40)]
    bits = torch.from_numpy(random.integers(-(2**63), 2**63 - 1, (4 + 7 * GAUSSIANS, size)))
    region = mixtures.regions(bits, torch.from_numpy(lengths), 30, 40)
    totals = torch.from_numpy(random.integers(0, 3, (size, 2, 2)).astype(np.float64))
    labels = mixtures.soft_labels(torch.from_numpy(random.integers(0, CLASSES, size)), CLASSES)
    partner = torch.from_numpy(random.integers(-1, size, size))

    def computed() -> list[torch.Tensor]:
        share = mixtures.share_of_events(totals)
        return [mixtures.density(region, *places), share, mixtures.mixed_labels(labels, partner, share)]

    compiled_loops = computed()
    monkeypatch.setattr(mixtures, "is_on_cpu", lambda _tensor: False)
    assert all(torch.equal(one, other) for one, other in zip(compiled_loops, computed(), strict=True))


def test_loaders_with_another_callable_give_the_same_batches(features: FeatureSet) -> None:
    """With a callable of the user, the compiled loop is not used, and batches are the same."""
    augment = [
        TimeShift(2),
        UniformNoise(3),
        ChannelJitter(1),
        EventThinning(0.2),
        Blend(),
        CutMix(),
        EventMix(),
    ]

    def batches(augment: list[Any]) -> list[Any]:
        return list(FeatureLoader(features, 40, "host", augment=augment, reuse=False))

    for one, other in zip(batches(augment), batches([*augment, lambda batch, _epoch: batch]), strict=True):
        assert torch.equal(one.frames, other.frames)
        assert torch.equal(one.labels, other.labels)
        torch.testing.assert_close(one.labels.sum(1), torch.ones(len(one.labels)))


@pytest.mark.parametrize(
    "more", [{}, {"frames": "sparse_coo"}, {"pad_at_least": 3}, {"pad_at_least": 99}, {"pad_to": 99}]
)
def test_a_callable_of_the_user_may_lengthen_samples(features: FeatureSet, more: dict[str, Any]) -> None:
    """The batch has the bins of the new lengths, and no event of a sample is in the next one."""

    def later(batch: SparseBatch, _epoch: int) -> SparseBatch:
        sites = int(np.prod(batch.sites))
        return replace(batch, index=widen(batch.index) + 2 * sites, lengths=batch.lengths + 2)

    plain = FeatureLoader(features, 40, "host", reuse=False)
    for one, other in zip(plain, FeatureLoader(features, 40, "host", augment=later, **more), strict=True):
        frames = other.frames.to_dense() if other.frames.is_sparse else other.frames
        bins = one.frames.shape[1]
        assert frames.shape[1] == max(bins + 2, more.get("pad_at_least", 0), more.get("pad_to", 0))
        assert not frames[:, :2].any()
        assert torch.equal(frames[:, 2 : bins + 2], one.frames)
        assert torch.equal(other.mask.sum(1), other.lengths)


def test_what_a_callable_of_the_user_returns_is_checked(features: FeatureSet) -> None:
    """A forgotten ``return`` is named, and the limit of a batch applies to the lengthened samples too."""

    def longer(batch: SparseBatch, _epoch: int) -> SparseBatch:
        return replace(batch, lengths=batch.lengths + 1_000)

    def first(augment: Any, most: int) -> Any:
        return next(iter(FeatureLoader(features, 2, "host", augment=augment, max_frame_bytes=most)))

    with pytest.raises(UsageError, match=r"must return a SparseBatch, but .*<lambda>.* returned NoneType"):
        first(lambda _batch, _epoch: None, 2**20)
    needed = first(longer, 2**30).frames.nbytes
    with pytest.raises(UsageError, match=f"takes {needed:,} bytes, more than max_frame_bytes"):
        first(longer, needed - 1)


@pytest.mark.parametrize(
    ("augment", "message"),
    [
        (
            ChannelMask(10),
            "a channel mask of up to 10 channels can remove all 10 channels of a sample",
        ),
        (TimeMask(1000), "a time mask of up to 1000 bins is longer than the longest sample, which has"),
        (ChannelShift(2, "y"), "axis is 'y', but the frames have no y"),
        (Rotate(30), "Rotate needs frames with x and y, but the frames of this set have no y"),
        (
            OneOf((TimeMask(3), Rotate(30))),
            "Rotate needs frames with x and y, but the frames of this set have no y",
        ),
        (Translate(3), "Translate needs frames with x and y, but the frames of this set have no y"),
        (CutMix("xy"), "CutMix needs frames with x and y, but the frames of this set have no y"),
        (
            [Blend(), CutMix(), CutMix(), CutMix()],
            "at most 3 augmentations of a loader can mix samples, got 4",
        ),
        ([Blend(), Blend()], "a list of augmentations can have only one Blend: remove the other ones"),
        (
            [CutMix(), lambda batch, _epoch: batch, Blend()],
            "Blend must be applied before CutMix and EventMix, .* put Blend before CutMix and EventMix",
        ),
    ],
)
def test_what_does_not_fit_the_set_is_refused(features: FeatureSet, augment: Any, message: str) -> None:
    """A loader refuses such augmentations when it is made."""
    with pytest.raises(UsageError, match=message):
        FeatureLoader(features, 4, "host", augment=augment)


def test_an_exchange_of_one_polarity_is_reported(
    features: FeatureSet, caplog: pytest.LogCaptureFixture
) -> None:
    """The loader of a set with one polarity says that PolarityFlip does nothing there, also as a choice."""
    for augment in (PolarityFlip(), OneOf((PolarityFlip(), TimeShift(1)))):
        caplog.clear()
        FeatureLoader(features, 4, "host", augment=augment)
        assert [record.message for record in caplog.records if record.levelname == "WARNING"] == [
            "PolarityFlip changes nothing, because the frames of this set have one polarity"
        ]
    caplog.clear()
    PolarityFlip().check((2, 10), 5, 3)
    assert not caplog.records


def test_labels_of_one_class_are_not_mixed() -> None:
    """EventMix refuses a set with one class."""
    with pytest.raises(
        UsageError, match="EventMix mixes the labels of several classes, but the set has one class"
    ):
        Augmentations([EventMix()], 1).check((1, 10), 20)


def test_partners_of_another_class() -> None:
    """A sample is mixed only with other classes, with each of their samples; a batch of one class stays as it is."""
    rows, labels = torch.arange(900), torch.tensor([0, 1, 1, 2, 1, 0] * 150)
    bits = random_bits.several(random_bits.sample_bits(rows, SEED, EPOCH, 1), 2)
    partner = random_bits.partners(bits[0], bits[1], 1.0, labels, other_class=True)
    assert (labels[partner] != labels).all()
    assert len(set(partner[labels == 1].tolist())) > 250  # of 450 others, 450 draws
    alone = random_bits.partners(bits[0], bits[1], 1.0, torch.ones_like(labels), other_class=True)
    assert (alone == -1).all()


def test_a_loader_of_one_class_has_no_other_class(features: FeatureSet) -> None:
    """Rows of one class are refused when the loader is made."""
    rows = rows_where(features, "label", features.classes[0])
    FeatureLoader(features, 4, "host", rows=rows, augment=CutMix())
    with pytest.raises(UsageError, match="CutMix mixes samples of different classes, but all samples"):
        FeatureLoader(features, 4, "host", rows=rows, augment=CutMix(other_class=True))


def test_order_of_thinning() -> None:
    """Thinning goes first, but not before a callable of the user that precedes it."""
    own = lambda batch, _epoch: batch  # noqa: E731
    thin, shift = EventThinning(0.1), TimeShift(1)
    assert in_order([shift, thin, own, shift, thin]) == (thin, shift, own, thin, shift)


@given(st.integers(0, 2**50 - 1), st.integers(1, 1000) | st.integers(1, 2**40))
@example(2**50 - 1, 1)
@example(49, 49)  # 49 times 1 / 49 is below 1
def test_quotients_are_exact(place: int, divisor: int) -> None:
    nearest = place // divisor * divisor
    for one in (place, nearest, max(nearest - 1, 0)):
        assert quotient(one, 1.0 / divisor) == one // divisor


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=32, max_size=32), st.integers(1, 400))
@example([2**63 - 1] * 4 + [2**40] * 28, 400)  # all deviations are the smallest: densities far below 1e-30
@settings(max_examples=20, deadline=None)
def test_tables_choose_the_places_of_the_densities(bits: list[int], bins: int) -> None:
    """With tables, the same places are in a region as by exact densities; one place has the density of the border."""
    height, width = 3, 17
    region = mixtures.regions(torch.tensor(bits)[:, None], torch.tensor([bins]), height, width)
    places = torch.arange(bins * height * width)
    time, row, column = places // (height * width), places // width % height, places % width
    expected = mixtures.density(region.expand(len(places), -1), time, row, column) > region[0, 0]
    tables = np.empty((GAUSSIANS, bins + height * width + height))
    gaussians = tabulate(region[0].numpy(), (bins, height, width), tables)
    amount, memory = np.ones(len(places)), np.empty((3, len(places)), np.int64)
    more: tuple[Any, ...] = (tables, gaussians, bins, places.numpy(), amount, len(places), memory, amount + 0)
    events = mix_region(height * width, width, height, True, region[0].numpy(), *more)
    assert events == (int((~expected).sum()), int(expected.sum()))
    assert np.array_equal(amount == 1, expected.numpy())


@pytest.mark.parametrize("bins", [1, 5, 31, 32, 35, 400, 200_001])
def test_errors_of_tables_are_smaller_than_what_counts_as_near(bins: int) -> None:
    """Even with the smallest deviation, a factor along one axis has at most a quarter of the relative difference `NEAR`."""
    region = np.zeros((bins, REGION))
    for centre, share in itertools.product({0, bins // 3, bins - 1}, (0.05, 0.5)):
        region[:, 1:8] = [0.7, centre, 0, 0, 0.5 / (share * bins) ** 2, 1, 1]
        exact, nothing = np.empty(bins), np.zeros(bins, np.int64)
        densities(region, np.arange(bins), nothing, nothing, exact)
        tables = np.empty((GAUSSIANS, bins + 2))
        assert tabulate(region[0], (bins, 1, 1), tables) == 2
        assert np.abs(tables[0, :bins] / exact - 1).max() < NEAR / 4
