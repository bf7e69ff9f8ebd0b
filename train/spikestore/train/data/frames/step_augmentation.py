"""`StepAugmentation`, the base class of augmentations that consist of `AugmentationStep` objects; and `Augmentations`, all augmentations of a loader."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import ClassVar, Literal, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from spikestore.store_schemas.errors import UsageError
from spikestore.train.data.batch import SparseBatch
from spikestore.train.data.device_samples import sent_to
from spikestore.train.data.frames.applied_steps import applied, centres_of
from spikestore.train.data.frames.augmentation_steps import (
    MOST_MIXES,
    AugmentationStep,
    StepInput,
)
from spikestore.train.data.frames.mixtures import mixed_labels, share_of_events, soft_labels

Augmentation = Callable[[SparseBatch, int], SparseBatch]
"""Called as (batch on the device, epoch)."""

_Augmentation = TypeVar("_Augmentation")


class StepAugmentation(ABC):
    """An augmentation that consists of steps (`AugmentationStep`). A compiled loop on the CPU, or a kernel on a GPU, applies them while it writes dense frames."""

    mixes: ClassVar[Literal["", "events", "labels"]] = ""
    """What is mixed. ``"events"``: events of samples of one class; ``"labels"``: events and labels of samples of any class; ``""``: nothing."""

    @property
    def counts_events(self) -> bool:
        """Whether the augmentation draws random numbers for single events. If so, a sample must not have two non-zeros at one place."""
        return False

    @property
    def needs_centres(self) -> bool:
        """Whether the augmentation uses the mean time bin, y and x of each sample's events (`StepInput.centres`)."""
        return False

    @property
    def needs_counts(self) -> bool:
        """Whether the augmentation draws random numbers for each event, adds events, or compares numbers of events."""
        return self.counts_events

    @abstractmethod
    def steps(self, batch: StepInput) -> tuple[AugmentationStep, ...]:
        """Return the steps for a batch, in the order in which they are applied."""

    def check(self, sites: tuple[int, ...], longest: int, classes: int) -> None:
        """Raise `UsageError` if the augmentation does not fit a set.

        Parameters
        ----------
        sites : tuple of int
            Sizes of the axes after time.
        longest : int
            Time bins of the longest sample.
        classes : int
            Number of classes.
        """
        row, lengths = torch.from_numpy(np.array([[0], [longest]], np.int64))
        self.steps(StepInput(row, lengths, row, sites, 0))

    def __call__(self, batch: SparseBatch, epoch: int) -> SparseBatch:
        """Return the augmented batch.

        Raises
        ------
        UsageError
            The augmentation uses class numbers to choose the samples that it mixes, but an earlier callable of the user
            has replaced these numbers by weights of classes; or the augmentation mixes labels, but ``batch.classes``
            is None.
        """
        rows, lengths, labels = batch.samples.cpu(), batch.lengths.cpu(), self._class_numbers(batch)
        centres = centres_of(batch) if self.needs_centres and batch.centres is None else batch.centres
        for step in self.steps(StepInput(rows, lengths, labels, batch.sites, epoch, centres)):
            batch = applied(step.to(batch.index.device), batch)
        return batch

    def _class_numbers(self, batch: SparseBatch) -> Tensor:
        numbers = batch.class_numbers if batch.labels.is_floating_point() else batch.labels
        if numbers is not None:
            return numbers.cpu()
        if self.mixes == "events" or getattr(self, "other_class", False):
            name = type(self).__name__
            raise UsageError(
                f"{name} chooses partners by their class numbers, but a callable of your own comes before it, and makes labels that are weights of "
                f"classes: put {name} before your callable"
            )
        return torch.zeros_like(batch.samples, device="cpu")


class Augmentations:
    """The augmentations of a loader.

    Parameters
    ----------
    augment : sequence of callables
        In the order in which a user passed them.
    classes : int
        Number of classes of the set.

    Raises
    ------
    UsageError
        Too many augmentations mix samples, several are `Blend`, or one that mixes labels comes before `Blend`.
    """

    def __init__(self, augment: Sequence[Augmentation], classes: int) -> None:
        self._augment = in_order(augment)
        self._classes = classes
        steps = [one for one in self._augment if isinstance(one, StepAugmentation)]
        self.are_steps = all(type(one).__call__ is StepAugmentation.__call__ for one in steps) and len(
            steps
        ) == len(self._augment)
        """Whether the compiled loop can apply all augmentations."""
        kinds = [one.mixes for one in steps if one.mixes]
        if len(kinds) > MOST_MIXES:
            raise UsageError(
                f"at most {MOST_MIXES} augmentations of a loader can mix samples, got {len(kinds)}: remove some"
            )
        if kinds.count("events") > 1:
            raise UsageError("a list of augmentations can have only one Blend: remove the other ones")
        if kinds != sorted(kinds):  # "events" come before "labels"
            raise UsageError(
                "Blend must be applied before CutMix and EventMix, but this list has CutMix or EventMix, then a callable of your own, "
                "then Blend: put Blend before CutMix and EventMix"
            )

    def __len__(self) -> int:
        return len(self._augment)

    def check(self, sites: tuple[int, ...], longest: int, float_operation: str | None = None) -> None:
        """Raise `UsageError` if an augmentation does not fit a set.

        See `StepAugmentation.check`; `float_operation` is the name of the operation that made real numbers, None for counts.
        """
        for one in self._augment:
            if isinstance(one, StepAugmentation):
                if float_operation is not None and one.needs_counts:
                    raise UsageError(
                        f"{type(one).__name__} needs counts of events, but the values of this set are real numbers, made by "
                        f"{float_operation}: remove this augmentation"
                    )
                one.check(sites, longest, self._classes)

    @property
    def needs_centres(self) -> bool:
        """Whether an augmentation uses `StepInput.centres`."""
        return any(isinstance(one, StepAugmentation) and one.needs_centres for one in self._augment)

    @property
    def mixes_labels(self) -> bool:
        """Whether an augmentation of this package replaces class numbers by weights of all classes; callables of the user are ignored."""
        return any(isinstance(one, StepAugmentation) and one.mixes == "labels" for one in self._augment)

    def check_labels(self, labels: npt.NDArray[np.int64]) -> None:
        """Raise `UsageError` if an augmentation needs samples of several classes, and these labels, shape (samples,), are all the same."""
        for one in self._augment:
            if getattr(one, "other_class", False) and len(labels) and (labels == labels[0]).all():
                raise UsageError(
                    f"{type(one).__name__} mixes samples of different classes, but all samples of this loader have the same class: "
                    f"pass rows of several classes to the loader, or other_class=False to {type(one).__name__}"
                )

    def steps(self, batch: StepInput) -> list[AugmentationStep]:
        """Return the steps of all augmentations for a batch. Call this method only if `are_steps` is true."""
        return [step for one in self._augment for step in one.steps(batch)]  # type: ignore[attr-defined]

    def labels(self, labels: Tensor, steps: Sequence[AugmentationStep], totals: Tensor) -> Tensor:
        """Return the labels of a batch after `steps`.

        Parameters
        ----------
        labels : int64 Tensor, shape (batch,)
            Class numbers before the steps.
        steps : sequence of AugmentationStep
            The steps.
        totals : float64 Tensor, shape (mixing steps, batch, 2, 2)
            For each step that mixes samples, the `totals` of `share_of_events`; used only if the step has a region.
        """
        mixing = [step.mixture for step in steps if step.mixture is not None]
        if not mixing:
            return labels
        for mixture, events in zip(mixing, totals, strict=True):
            share = mixture.share if mixture.region is None else share_of_events(events)
            if share is not None:
                # Steps may be on the host, and labels on a GPU.
                partner, share = (sent_to(labels.device, one) for one in (mixture.partner, share))
                labels = mixed_labels(soft_labels(labels, self._classes), partner, share)
        return labels

    def __call__(self, batch: SparseBatch, epoch: int) -> SparseBatch:
        """Return the augmented batch, made by operations of torch.

        Raises
        ------
        UsageError
            A callable of the user did not return a `SparseBatch`; and the errors of `StepAugmentation.__call__`.
        """
        batch = replace(batch, classes=self._classes)
        for augmentation in self._augment:
            # Thinning comes before the alignment of samples, and does not change their centres, as in the compiled loop.
            if self.needs_centres and batch.centres is None:
                batch = replace(batch, centres=centres_of(batch))
            before, batch = batch, augmentation(batch, epoch)
            if not isinstance(augmentation, StepAugmentation):
                if not isinstance(batch, SparseBatch):
                    raise UsageError(
                        f"an augmentation must return a SparseBatch, but {augmentation!r} returned {type(batch).__name__}"
                    )
                # It may have changed the lengths; on a GPU, finding the longest one would synchronise.
                same = batch.lengths is before.lengths and batch.lengths.device.type != "cpu"
                longest = batch.longest if same else None
                batch = replace(batch, classes=self._classes, centres=None, longest=longest)
                if batch.labels is not before.labels or batch.samples is not before.samples:
                    batch = replace(batch, class_numbers=None)  # may have another order
        return batch


def in_order(augment: Sequence[_Augmentation]) -> tuple[_Augmentation, ...]:
    """Return augmentations in the order in which they are applied: `EventThinning` (also in a `OneOf`), then `Blend`, then the others.

    `EventThinning` and `Blend` draw random bits for each event of a count, and these bits depend on the place of the count.
    Other augmentations may move two counts to one place. If they came first, the events of both counts would get the
    same bits. Thinning before a move gives the same distribution of results as thinning after the move.

    A callable of the user keeps its place: augmentations before it in `augment` are applied before it, later ones after it.
    """

    def turn(one: StepAugmentation) -> tuple[bool, bool]:
        return not one.counts_events, bool(one.mixes) and one.counts_events

    runs = itertools.groupby(augment, lambda one: isinstance(one, StepAugmentation))
    return tuple(
        one
        for have_steps, run in runs
        for one in (sorted(run, key=turn) if have_steps else run)  # type: ignore[arg-type]
    )
