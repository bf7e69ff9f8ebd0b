"""Whatever changes in a folder: the grown set equals a fresh build."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.hypothesis_profiles import examples
from tests.pipeline.folders import draw, save
from tests.pipeline.growing.growing_folders import grown, is_as_fresh

pytestmark = pytest.mark.usefixtures("few_events")

Folder = dict[str, int]
"""Seed of the recording of each file; equal seeds are equal contents."""

LABELS = ("a", "b", "c")
CONTENTS = 12
"""Number of different recordings: so few that most are in both folders, and some twice in one."""


@st.composite
def folders(draw_value: st.DrawFn) -> Folder:
    """Draw up to 200 files, more than the 64 of a fragment, in few ranges of names, so that many runs of rows stay together."""
    spans = draw_value(
        st.lists(
            st.tuples(
                st.sampled_from(LABELS), st.integers(0, 60), st.integers(1, 80), st.integers(0, CONTENTS)
            ),
            min_size=1,
            max_size=4,
        )
    )
    return {
        f"{label}/{number:03d}.npy": (number + shift) % CONTENTS
        for label, first, count, shift in spans
        for number in range(first, first + count)
    }


def write(root: Path, files: Folder) -> None:
    shutil.rmtree(root, ignore_errors=True)
    for file, seed in files.items():
        save(root / file, RECORDINGS[seed])


RECORDINGS = [draw(seed, count=seed) for seed in range(CONTENTS)]
"""The recordings; one has no events."""


def sizes() -> st.SearchStrategy[int | None]:
    return st.sampled_from([None, 64, 128])


@given(before=folders(), after=folders(), size=sizes(), grown_size=sizes())
@settings(
    max_examples=examples(12, by_hand=2),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_a_grown_set_equals_a_fresh_one(
    before: Folder, after: Folder, size: int | None, grown_size: int | None
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root, store = Path(folder) / "data", Path(folder) / "store"
        options: dict[str, Any] = {"allow_empty": True}
        write(root, before)
        grown(root, store, fragment_samples=size, **options)
        write(root, after)
        features = grown(root, store, fragment_samples=grown_size, **options)["all"]
        assert is_as_fresh(root, features, Path(folder) / "fresh", **options)
        if before != after:
            known = sum(seed in before.values() for seed in after.values())
            assert features.manifest.provenance.get("reused_recordings", 0) == known
