"""Base class of augmentations: it checks their fields."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from spikestore.store_schemas.errors import UsageError
from spikestore.train.data.frames.step_augmentation import StepAugmentation

_COUNTS = {"bins", "channels", "pixels", "events"}
_MOST = {"probability": 1, "strength": 1, "share": 1, "keep": 1, "degrees": 180}
_MOST_LEVELS = 1000
"""Maximum of ``levels``; a probability takes 53 of 64 bits, and this number must fit into the rest."""
_CHOICES = {"axis": ("x", "y"), "region": ("time", "xy"), "align": ("centre",)}


class CheckedAugmentation(StepAugmentation):
    """An augmentation that is a dataclass; the name of a field determines which values the field accepts."""

    def __post_init__(self) -> None:
        for field in fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if value is not None or field.default is not None:
                check_field(field.name, value)


@dataclass(frozen=True)
class ChanceAugmentation(CheckedAugmentation):
    """An augmentation that happens, to a sample or to each event, with a probability.

    Attributes
    ----------
    probability : float
        From 0 to 1.
    seed : int
        With another seed, other samples or events are drawn.
    """

    probability: float
    seed: int = 0


def axis_of(axis: str, sites: tuple[int, ...]) -> tuple[int, int]:
    """Return stride and size of an axis of the sensor.

    Raises
    ------
    UsageError
        `axis` is ``y``, but the sensor has no y.
    """
    refuse(axis == "y" and len(sites) < 3, "axis is 'y', but the frames have no y")
    return (1, sites[-1]) if axis == "x" else (sites[-1], sites[-2])


def plane_of(augmentation: CheckedAugmentation, sites: tuple[int, ...]) -> tuple[int, int]:
    """Return width and height of the sensor.

    Raises
    ------
    UsageError
        The sensor has no y; the message names the augmentation.
    """
    refuse(
        len(sites) < 3,
        f"{type(augmentation).__name__} needs frames with x and y, but the frames of this set have no y",
    )
    return sites[-1], sites[-2]


def refuse(wrong: bool, message: str) -> None:
    """Raise `UsageError` with `message` if `wrong` is true."""
    if wrong:
        raise UsageError(message)


def check_field(name: str, value: object) -> None:
    """Raise `UsageError` if an augmentation's field of this name cannot have this value."""
    if name in _CHOICES:
        choices = " or ".join(map(repr, _CHOICES[name]))
        refuse(value not in _CHOICES[name], f"{name} must be {choices}, got {value!r}")
    elif name == "other_class":
        refuse(not isinstance(value, bool), f"{name} must be true or false, got {value!r}")
    elif name == "levels":
        refuse(
            not _is_whole(value) or not 1 <= value <= _MOST_LEVELS,  # type: ignore[operator]
            f"levels must be a whole number from 1 to {_MOST_LEVELS}, got {value!r}",
        )
    elif name in _MOST:
        real = isinstance(value, int | float | np.floating) and not isinstance(value, bool)
        refuse(
            not real or not 0 <= value <= _MOST[name],  # type: ignore[operator]
            f"{name} must be a number from 0 to {_MOST[name]}, got {value!r}",
        )
    else:
        counts = name in _COUNTS
        refuse(
            not _is_whole(value) or (counts and not 0 <= value < 2**31),  # type: ignore[operator]
            f"{name} must be a whole number{' from 0 to 2^31 - 1' if counts else ''}, got {value!r}",
        )


def _is_whole(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)
