"""Operations that other packages register as entry points of the group ``spikestore.operations``.

Nothing prevents the function of a package from breaking the rules of operations. Therefore the events that it returns are
checked. For the first recordings of a fragment, the function also runs twice, and both results must be equal: if a function
drew random numbers, the store would keep one draw, and all epochs would get this draw.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points

import numpy as np

from spikestore.pipeline.readers.packages import package_of
from spikestore.pipeline.readers.recording import Events
from spikestore.store_schemas.errors import RecordingError, UnknownNameError, UsageError
from spikestore.store_schemas.specs.operations import OwnOperation
from spikestore.store_schemas.specs.transform import Transform

GROUP = "spikestore.operations"
"""Group of the entry points; each refers to an `EventFunction`."""

REPEATED = 8
"""Number of recordings of a fragment for which a function runs twice. If a function draws random numbers, its results already differ for the first recording."""


@dataclass(frozen=True)
class EventFunction:
    """A function from events to events, which a package registers as an operation.

    Attributes
    ----------
    function : callable
        Called with the events of a recording, and the parameters of the recipe as keyword arguments. The events are a
        structured array with ``t`` (µs, int64 or a floating-point type), ``x``, ``y`` if the sensor has it, and ``p`` (int64).
        There is at least one event, and events are in the order of time. The function returns events of the same dtype in the
        order of time, without negative coordinates or polarities, and not more events than it got. It may change the array
        that it gets.
    version : int
        Version of the results. If the same events and parameters give other events than before, the version must be a new
        number.
    """

    function: Callable[..., Events]
    version: int


def refuse_missing_functions(transform: Transform) -> None:
    """Raise the errors of `CheckedFunction`: a function is missing, or does not have the version and the parameters in `transform`."""
    for operation in transform.on_events:
        if isinstance(operation, OwnOperation):
            CheckedFunction(operation)


class CheckedFunction:
    """Applies the function of an operation, and checks what it returns.

    Parameters
    ----------
    operation : OwnOperation
        The operation.

    Raises
    ------
    UnknownNameError
        No installed package registers this operation.
    UsageError
        The package cannot be loaded, the function has another version than `operation` states, or the signature of the function
        does not have the parameters in `operation`.
    """

    def __init__(self, operation: OwnOperation) -> None:
        self._name, self._arguments = operation.name, operation.parameters
        registered = _load(operation.name)
        if registered.version != operation.version:
            raise UsageError(
                f"the operation {operation.name} is installed in version {registered.version}, not {operation.version}: "
                f"set version = {registered.version} in the recipe, or install the package that has version {operation.version} "
                "of the operation"
            )
        self._function = registered.function
        try:
            inspect.signature(self._function).bind(None, **self._arguments)
        except TypeError as error:
            raise UsageError(
                f"the operation {operation.name} does not take these parameters: {error}"
            ) from None
        except ValueError:
            pass  # some functions in C have no signature: the first call then checks the parameters
        self._repeated = 0

    def __call__(self, events: Events, *, name: str) -> Events:
        """Return the events after the operation.

        Parameters
        ----------
        events : structured array, shape (n_events,)
            The events before the operation; they are not modified.
        name : str
            Name of the recording in messages.

        Raises
        ------
        RecordingError
            The function raised an error.
        UsageError
            The function returned something that is not events, or returned other events in a second run.
        """
        result = self._run(events, name)
        if self._repeated < REPEATED:
            self._repeated += 1
            if not np.array_equal(result, self._run(events, name)):
                raise UsageError(
                    f"{name}: the operation {self._name} gave other events in a second run. If the operation "
                    "draws random numbers, all epochs would get the same numbers: use augmentations during training instead"
                )
        return result

    def _run(self, events: Events, name: str) -> Events:
        try:
            result: object = self._function(events.copy(), **self._arguments)
        except MemoryError:
            raise  # not the recording's fault
        except Exception as error:
            problem = f"{name}: the operation {self._name} failed with {type(error).__name__}: {error}"
            raise RecordingError(problem, recording=name) from error
        wrong = _problem(result, events)
        if wrong is not None:
            raise UsageError(f"{name}: the operation {self._name} returned {wrong}")
        assert isinstance(result, np.ndarray)  # noqa: S101 - `_problem` looked
        return result


def _problem(result: object, events: Events) -> str | None:
    """Return what is wrong with the result of a function that got `events`; None if the result is right."""
    if not isinstance(result, np.ndarray) or result.ndim != 1 or result.dtype != events.dtype:
        found = (
            f"{result.dtype} of shape {result.shape}"
            if isinstance(result, np.ndarray)
            else type(result).__name__
        )
        return f"{found}, but must return an array of events with the dtype {events.dtype}"
    if len(result) > len(events):
        return f"{len(result):,} events, but must not return more than the {len(events):,} that it got"
    if not (result["t"][1:] >= result["t"][:-1]).all() or not np.isfinite(result["t"]).all():
        return "times that are not in order or not finite"
    if any((result[field] < 0).any() for field in {"x", "y", "p"}.intersection(result.dtype.names or ())):
        return "negative coordinates or polarities"
    return None


@functools.cache
def _entry_points() -> Mapping[str, EntryPoint]:
    """Return the entry points by the names of their operations: ``PACKAGE.NAME``."""
    known = {f"{package_of(entry)}.{entry.name}": entry for entry in entry_points(group=GROUP)}
    return dict(sorted(known.items()))


@functools.cache
def _load(name: str) -> EventFunction:
    known = _entry_points()
    if name not in known:
        raise UnknownNameError(
            f"the operation {name} is not installed: install the package that registers it, on all machines that read recordings. "
            f"Installed operations: {', '.join(known) or 'none'}",
            name=name,
            known=tuple(known),
        )
    entry = known[name]
    try:
        registered = entry.load()
        if not isinstance(registered, EventFunction):
            raise TypeError(f"{entry.value} must be a spikestore.pipeline.EventFunction")
    except Exception as error:
        raise UsageError(
            f"the operation {name} can't be loaded ({type(error).__name__}: {error}): "
            f"update or uninstall the package {package_of(entry)}"
        ) from error
    return registered
