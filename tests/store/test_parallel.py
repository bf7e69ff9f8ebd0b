"""Threads in order, and a budget of bytes."""

from __future__ import annotations

import itertools
import threading

import pytest

from spikestore.store.parallel import ByteBudget, in_order


def test_results_come_in_order() -> None:
    """Whoever is done first."""
    turn = threading.Barrier(4)

    def work(number: int) -> int:
        turn.wait(60)  # four at once, or never
        return number * number

    assert [*in_order(work, range(8), threads=4)] == [number * number for number in range(8)]
    assert [*in_order(str, ())] == []


def test_items_are_asked_for_as_they_are_needed() -> None:
    """Any number may come; who stops taking leaves the rest."""
    asked = itertools.count()
    results = in_order(lambda number: number, asked, threads=2)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    results.close()  # type: ignore[attr-defined]
    assert next(asked) < 20


def test_an_error_ends_it() -> None:
    """It is told before what is under way is waited for, and nothing new begins."""
    begun: list[int] = []
    over = threading.Event()

    def work(number: int) -> None:
        begun.append(number)
        if number == 1:
            raise ValueError("one")
        assert over.wait(60)

    with pytest.raises(ValueError, match="one"):
        # The second item fails while the first one waits for `stop`, which comes only if nobody waits for the first.
        for _ in in_order(work, [1, 2, 3, 4, 5, 6], threads=2, stop=over.set):
            pass
    assert len(begun) <= 3


def test_the_budget_is_shared() -> None:
    """Small ones go together, one that is larger than all goes alone, and what is held comes back after an error."""
    budget = ByteBudget(10)
    with budget.held(4), budget.held(6):
        waiting = threading.Thread(target=lambda: _hold(budget, 1), daemon=True)
        waiting.start()
        waiting.join(0.05)
        assert waiting.is_alive()
    waiting.join(60)
    assert not waiting.is_alive()
    with pytest.raises(ValueError, match="held"), budget.held(1000):
        raise ValueError("held")
    with budget.held(10):
        pass


def _hold(budget: ByteBudget, size: int) -> None:
    with budget.held(size):
        pass
