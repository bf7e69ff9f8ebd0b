"""Jobs, which are numbered tasks with their inputs, and the protocol of schedulers, which run these tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, Self, TypeVar, runtime_checkable

Result = TypeVar("Result")
Result_co = TypeVar("Result_co", covariant=True)


class Job(Protocol[Result_co]):
    """Inputs of numbered tasks; a build, for example, has one task for each fragment."""

    def only(self, number: int, /) -> Self:
        """Return a copy that contains only what task `number` needs, to send to a worker."""

    def run(self, number: int, /) -> Result_co:
        """Do a task and return its result."""


@runtime_checkable
class TwoStepJob(Protocol[Result_co]):
    """Job whose tasks compute something, and then store it."""

    def compute(self, number: int, /) -> Callable[[], Result_co]:
        """Compute a task, and return a function.

        A call of this function stores what was computed, and returns the result of the task.
        """


class Scheduler(Protocol):
    """Runs the tasks of a job, in any order."""

    @property
    def workers(self) -> int:
        """Largest number of tasks that run at the same time."""

    def run(self, job: Job[Result], numbers: Sequence[int]) -> Iterator[Result]:
        """Run the tasks with these numbers, and yield each result when its task finishes; the first error ends the run."""
