"""Base class of augmentations that are steps, and the augmentations of a loader."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar, TypeVar

import torch

from spikestore.train.data.batch import SparseBatch
from spikestore.train.data.frames.applied_steps import applied
from spikestore.train.data.frames.augmentation_steps import AugmentationStep, StepInput

Augmentation = Callable[[SparseBatch, int], SparseBatch]
"""Called as (batch on the device, epoch)."""

_Augmentation = TypeVar("_Augmentation")


class StepAugmentation(ABC):
    """An augmentation made of `AugmentationStep`; on the CPU, a compiled loop applies it while it writes the frames."""

    counts_events: ClassVar[bool] = False
    """Whether the events of a count are drawn one by one, so that each place must have only one non-zero."""

    @abstractmethod
    def steps(self, batch: StepInput) -> tuple[AugmentationStep, ...]:
        """Return the steps for a batch, in the order in which they are applied."""

    def check(self, sites: tuple[int, ...], longest: int) -> None:
        """Raise `UsageError` if the augmentation does not fit a set with these `sites` and a longest sample of `longest` bins."""
        row = torch.zeros(1, dtype=torch.int64)
        self.steps(StepInput(row, torch.tensor([longest]), row, sites, 0))

    def __call__(self, batch: SparseBatch, epoch: int) -> SparseBatch:
        """Return the augmented batch."""
        for step in self.steps(StepInput(batch.samples, batch.lengths, batch.labels, batch.sites, epoch)):
            batch = applied(step, batch)
        return batch


def in_order(augment: Sequence[_Augmentation]) -> tuple[_Augmentation, ...]:
    """Return augmentations in the order in which they are applied: those that count events before others.

    Others may move two non-zeros to one place, and the events of both would then have the same draws. Thinning before a
    move has the same distribution as after it. No augmentation changes sides with a callable of the user.
    """
    runs = itertools.groupby(augment, lambda one: isinstance(one, StepAugmentation))
    return tuple(
        one
        for have_steps, run in runs
        for one in (sorted(run, key=lambda step: not step.counts_events) if have_steps else run)  # type: ignore[attr-defined]
    )
