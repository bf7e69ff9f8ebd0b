"""Arguments as scripts give them: NumPy's and torch's numbers are taken, what makes no sense is named at once."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from spikestore.store_schemas.errors import UsageError
from spikestore.store_schemas.wording import did_you_mean


def whole_number(name: str, value: object, least: int | None = None) -> int:
    """Return a whole number as an int: Python's, NumPy's, or a tensor of one integer.

    Raises
    ------
    UsageError
        `value` is something else, such as a bool, or less than `least`.
    """
    try:
        number = None if _is_flag(value) else operator.index(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, RuntimeError):
        number = None
    if number is None or (least is not None and number < least):
        wanted = "a whole number" + ("" if least is None else f" from {least} on")
        raise UsageError(f"{name} is {value!r}, should be {wanted}", field=name)
    return number


def true_or_false(name: str, value: object) -> bool:
    """Return a bool: Python's, NumPy's, or 0 or 1.

    Raises
    ------
    UsageError
        `value` is something else: a text such as "False" would count as true.
    """
    if _is_flag(value) or (isinstance(value, int | np.integer) and value in (0, 1)):
        return bool(value)
    raise UsageError(f"{name} is {value!r}, should be True or False", field=name)


def callables(name: str, value: object, example: str) -> tuple[Callable[..., Any], ...]:
    """Return one callable, or a sequence of them, as a tuple; None gives none.

    Raises
    ------
    UsageError
        Something else is among them; the message names it, and `example` as what could stand there.
    """
    if value is None:
        return ()
    several = isinstance(value, Iterable) and not isinstance(value, str | bytes) and not callable(value)
    functions: tuple[Any, ...] = tuple(value) if several else (value,)  # type: ignore[arg-type]
    for function in functions:
        if not callable(function):
            raise UsageError(f"{name} is {function!r}, should be a callable, such as {example}", field=name)
    return functions


def augmentations(value: object) -> tuple[Callable[..., Any], ...]:
    """Return one augmentation, or a sequence of them, as a tuple.

    Raises
    ------
    UsageError
        Something is no callable, or a class in place of an object of it.
    """
    functions = callables("augment", value, "TimeShift(bins=5)")
    for function in functions:
        if isinstance(function, type):
            raise UsageError(
                f"augment is the class {function.__name__}, should be an object of it: {function.__name__}(…)"
            )
    return functions


def refuse_arguments(
    kind: str, others: Mapping[str, object], instead: Mapping[str, str], known: Iterable[str]
) -> None:
    """Refuse keyword arguments that a class does not take.

    Parameters
    ----------
    kind : str
        Name of the class.
    others : mapping of str to object
        The arguments.
    instead : mapping of str to str
        Those of torch's DataLoader, with what takes their place.
    known : iterable of str
        What the class takes, to suggest the nearest.

    Raises
    ------
    UsageError
        One is in `instead`.
    TypeError
        One is not.
    """
    for name in others:
        if name in instead:
            raise UsageError(f"{kind} takes no {name}=: {instead[name]}", field=name)
        raise TypeError(f"{kind} takes no argument {name!r}{did_you_mean(name, known)}")


def as_array(values: Any) -> npt.NDArray[Any]:
    """Return an array; a tensor may be on any device, and in a graph."""
    return values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)


def _is_flag(value: object) -> bool:
    return isinstance(value, bool | np.bool_) or (
        isinstance(value, torch.Tensor) and value.dtype == torch.bool and value.numel() == 1
    )
