"""The scheduler of this process: tasks are computed one after another, and a thread stores what was computed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from spikestore.pipeline.execution.fragment_task import FragmentReport
from spikestore.pipeline.execution.schedulers import InProcess, open_scheduler
from spikestore.store_schemas.errors import RecordingError, StorageFullError


class JobOf:
    """A job whose tasks are calls of a function."""

    def __init__(self, run: Callable[[int], FragmentReport]) -> None:
        self.run = run

    def only(self, fragment: int) -> JobOf:
        """Return itself."""
        return self


def report(fragment: int) -> FragmentReport:
    return FragmentReport(fragment, 64, 5, 0.1)


def test_in_process_builds_in_order() -> None:
    """Fragments are built one after another, lazily: after an error in the second, the first is done and the third has not begun."""
    done: list[int] = []

    def build(fragment: int) -> FragmentReport:
        if fragment == 5:
            raise RecordingError("bad")
        done.append(fragment)
        return report(fragment)

    with open_scheduler(0) as runs:
        assert isinstance(runs, InProcess)
        assert runs.workers == 1
        reports = runs.run(JobOf(build), [3, 5, 7])
        assert next(reports).fragment == 3
        with pytest.raises(RecordingError):
            next(reports)
    assert done == [3]


class JobInSteps(JobOf):
    """A job whose tasks are computed by one function, and stored by another."""

    def __init__(self, compute: Callable[[int], None], store: Callable[[int], FragmentReport]) -> None:
        super().__init__(lambda number: pytest.fail(f"task {number} was not done in two steps"))
        self._compute, self._store = compute, store

    def only(self, fragment: int) -> JobInSteps:
        """Return itself."""
        return self

    def compute(self, number: int) -> Callable[[], FragmentReport]:
        """Compute a task and return the function that stores it."""
        self._compute(number)
        return lambda: self._store(number)


def test_in_process_stores_a_task_while_it_computes_the_next() -> None:
    """Each step waits for the other one, so the test ends only if they run at the same time."""
    computed, order = {number: threading.Event() for number in range(5)}, list[str]()

    def compute(number: int) -> None:
        order.append(f"compute {number}")
        computed[number].set()

    def store(number: int) -> FragmentReport:
        if number < 4:
            assert computed[number + 1].wait(30)
        order.append(f"store {number}")
        return report(number)

    with open_scheduler(0) as runs:
        reports = runs.run(JobInSteps(compute, store), range(5))
        assert [each.fragment for each in reports] == [*range(5)]
    for number in range(3):  # only one computed task waits
        assert order.index(f"store {number}") < order.index(f"compute {number + 2}") + 1
    assert sorted(order) == sorted(f"{step} {number}" for step in ("compute", "store") for number in range(5))


@pytest.mark.parametrize("step", ["compute", "store"])
def test_in_process_stores_the_tasks_before_one_that_fails(step: str) -> None:
    """The error is raised after them, and no further task begins."""
    begun, stored = list[int](), list[int]()

    def compute(number: int) -> None:
        begun.append(number)
        if (step, number) == ("compute", 2):
            raise RecordingError("bad")

    def store(number: int) -> FragmentReport:
        if (step, number) == ("store", 2):
            raise StorageFullError("full")
        stored.append(number)
        return report(number)

    reports: list[int] = []
    with open_scheduler(0) as runs, pytest.raises((RecordingError, StorageFullError), match=r"bad|full"):
        reports.extend(each.fragment for each in runs.run(JobInSteps(compute, store), range(9)))
    assert stored == [0, 1]
    assert begun == ([0, 1, 2] if step == "compute" else [0, 1, 2, 3])


def test_an_error_of_storing_precedes_that_of_the_next_task() -> None:
    """A full disk must be reported, also if the next recording is bad."""

    def compute(number: int) -> None:
        if number == 1:
            raise RecordingError("bad")

    def store(number: int) -> FragmentReport:
        raise StorageFullError("full")

    with open_scheduler(0) as runs, pytest.raises(StorageFullError) as caught:
        list(runs.run(JobInSteps(compute, store), range(3)))
    assert isinstance(caught.value.__context__, RecordingError)


def test_an_interrupt_does_not_wait_for_a_task_that_is_being_stored() -> None:
    """A server may not respond for a long time."""
    never, asked = threading.Event(), threading.Event()

    def compute(number: int) -> None:
        if number == 1:
            assert asked.wait(30)
            raise KeyboardInterrupt

    def store(number: int) -> FragmentReport:
        asked.set()
        never.wait(60)
        return report(number)

    began = time.monotonic()
    with open_scheduler(0) as runs, pytest.raises(KeyboardInterrupt):
        list(runs.run(JobInSteps(compute, store), range(3)))
    assert time.monotonic() - began < 30
    never.set()
