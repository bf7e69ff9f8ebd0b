"""An augmentation that applies one of several augmentations to each sample."""

from __future__ import annotations

from dataclasses import dataclass

from spikestore.train.data.augmentation.fields import CheckedAugmentation, check_field, refuse
from spikestore.train.data.augmentation.removals import (
    AreaMask,
    ChannelMask,
    EventDrop,
    EventThinning,
    TimeMask,
)
from spikestore.train.data.frames.augmentation_steps import AugmentationStep, StepInput, only_where
from spikestore.train.data.frames.random_bits import below, several, threshold, whole

_IN_PLACE = (EventDrop, EventThinning, TimeMask, ChannelMask, AreaMask)
"""Augmentations that move no event and add none."""


@dataclass(frozen=True)
class OneOf(CheckedAugmentation):
    """Apply one of several augmentations to each sample; each augmentation has the same chance.

    Attributes
    ----------
    choices : tuple of augmentations
        One or more augmentations; none of them may mix samples or be a `OneOf`. If one of the choices is
        `EventThinning`, the other choices must neither move nor add events.
    probability : float
        Probability that a sample is changed by one of the choices; from 0 to 1.
    seed : int
        Another seed selects other augmentations for the samples. The augmentations in `choices` have seeds of their
        own.
    """

    choices: tuple[CheckedAugmentation, ...]
    probability: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        check_field("probability", self.probability)
        check_field("seed", self.seed)
        refuse(
            not isinstance(self.choices, tuple | list),
            f"choices must be a tuple of augmentations, got {self.choices!r}",
        )
        object.__setattr__(self, "choices", tuple(self.choices))
        refuse(len(self.choices) == 0, "choices must have at least one augmentation, got none")
        for one in self.choices:
            refuse(
                not isinstance(one, CheckedAugmentation),
                f"a choice must be an augmentation, such as TimeMask(bins=5), got {one!r}",
            )
            refuse(bool(one.mixes), f"{type(one).__name__} mixes samples, so it cannot be a choice of OneOf")
            # Both would draw the same random numbers.
            refuse(isinstance(one, OneOf), "a choice cannot be a OneOf: put its choices into the outer OneOf")
        for one in self.choices:
            # A loader applies it before the others, where no two non-zeros are in one place.
            refuse(
                self.counts_events and not isinstance(one, _IN_PLACE),
                f"EventThinning and {type(one).__name__} cannot be choices of the same OneOf, because EventThinning is applied before all "
                "augmentations that may move events: use two OneOf",
            )

    @property
    def counts_events(self) -> bool:
        """Whether at least one of the choices draws random numbers for single events."""
        return any(one.counts_events for one in self.choices)

    @property
    def needs_counts(self) -> bool:
        """Whether at least one of the choices needs counts of events."""
        return any(one.needs_counts for one in self.choices)

    def check(self, sites: tuple[int, ...], longest: int, classes: int) -> None:
        """Raise `UsageError` if a choice does not fit a set."""
        for one in self.choices:
            one.check(sites, longest, classes)

    def steps(self, batch: StepInput) -> tuple[AugmentationStep, ...]:
        """Return the steps of all choices; a choice changes only the samples that drew it."""
        chance, which = several(batch.bits(self.seed, 19), 2)
        changed = below(chance, threshold(float(self.probability)))
        choice = whole(which, len(self.choices))
        return tuple(
            only_where(changed & (choice == number), step)
            for number, one in enumerate(self.choices)
            for step in one.steps(batch)
        )
