"""Number of examples of a property test, by profile (``HYPOTHESIS_PROFILE``).

``default`` is for a run by hand: a quarter of the examples, so that `make test` takes a few minutes. ``ci`` draws all of
them, the same ones in every run, so that a failure can be repeated. ``nightly`` draws many more.
"""

from __future__ import annotations

import os

PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "default")

_USUAL, _FEWEST, _NIGHTLY = 100, 5, 1000


def examples(count: int = _USUAL, *, by_hand: int | None = None) -> int:
    """Return how many examples to draw in this profile, of a test that draws `count` in CI, and `by_hand` in a run by hand.

    A number `by_hand` is for tests in which most examples compile another kernel, for a second each.
    """
    if PROFILE == "default":
        return min(count, max(_FEWEST, count // 4)) if by_hand is None else by_hand
    return max(count, _NIGHTLY) if PROFILE == "nightly" else count
