"""Checks of arguments of the public API; numbers of NumPy and torch are accepted."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from spikestore.store_schemas.errors import UsageError
from spikestore.store_schemas.wording import did_you_mean


def whole_number(name: str, value: object, least: int | None = None, most: int | None = None) -> int:
    """Return `value` as an int; accepts whole numbers of Python and NumPy, and a tensor of one integer.

    Raises
    ------
    UsageError
        `value` has another type, such as bool, is less than `least`, or is more than `most`.
    """
    try:
        number = None if _is_flag(value) else operator.index(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, RuntimeError):
        number = None
    if number is None or (least is not None and number < least):
        wanted = "a whole number" + ("" if least is None else f" of at least {least}")
        raise UsageError(f"{name} must be {wanted}, got {value!r}", field=name)
    if most is not None and number > most:
        raise UsageError(f"{name} must be at most {most}, got {value!r}", field=name)
    return number


def true_or_false(name: str, value: object) -> bool:
    """Return `value` as a bool; accepts bools of Python and NumPy, a tensor of one bool, and 0 or 1.

    Raises
    ------
    UsageError
        `value` is anything else, such as the text "False", which Python counts as true.
    """
    if _is_flag(value) or (isinstance(value, int | np.integer) and value in (0, 1)):
        return bool(value)
    raise UsageError(f"{name} must be True or False, got {value!r}", field=name)


def callables(name: str, value: object, example: str) -> tuple[Callable[..., Any], ...]:
    """Return a callable or a sequence of callables as a tuple; None gives an empty tuple.

    Raises
    ------
    UsageError
        A value is not callable; the message names this value, and `example` as a valid value.
    """
    if value is None:
        return ()
    several = isinstance(value, Iterable) and not isinstance(value, str | bytes) and not callable(value)
    functions: tuple[Any, ...] = tuple(value) if several else (value,)  # type: ignore[arg-type]
    for function in functions:
        if not callable(function):
            raise UsageError(f"{name} must be a callable, such as {example}, got {function!r}", field=name)
    return functions


def augmentations(value: object) -> tuple[Callable[..., Any], ...]:
    """Return an augmentation or a sequence of augmentations as a tuple.

    Raises
    ------
    UsageError
        A value is not callable, or is a class instead of an instance.
    """
    functions = callables("augment", value, "TimeShift(bins=5)")
    for function in functions:
        if isinstance(function, type):
            name = function.__name__
            raise UsageError(f"augment must be an instance, such as {name}(…), got the class {name}")
    return functions


def refuse_arguments(
    kind: str, others: Mapping[str, object], instead: Mapping[str, str], known: Iterable[str]
) -> None:
    """Raise an error for the first unknown keyword argument of a class.

    Parameters
    ----------
    kind : str
        Name of the class.
    others : mapping of str to object
        The unknown arguments.
    instead : mapping of str to str
        Arguments of torch's DataLoader, and for each a text that says what to use instead.
    known : iterable of str
        Arguments of the class; the message suggests the argument with the most similar name.

    Raises
    ------
    UsageError
        The argument is in `instead`.
    TypeError
        The argument is not in `instead`.
    """
    for name in others:
        if name in instead:
            raise UsageError(f"{kind} has no argument {name!r}: {instead[name]}", field=name)
        raise TypeError(f"{kind} has no argument {name!r}{did_you_mean(name, known)}")


def as_array(values: Any) -> npt.NDArray[Any]:
    """Return values as an array; a tensor may be on any device and part of an autograd graph."""
    return values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)


def _is_flag(value: object) -> bool:
    return isinstance(value, bool | np.bool_) or (
        isinstance(value, torch.Tensor) and value.dtype == torch.bool and value.numel() == 1
    )
