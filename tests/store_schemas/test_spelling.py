"""Suggestions for misspelt words."""

from __future__ import annotations

import pytest

from spikestore.store_schemas.spelling import did_you_mean


@pytest.mark.parametrize(
    ("word", "suggestion"),
    [("trian", "train"), ("ssc", "SSC"), ("TRAIN", "train"), ("train", None), ("zzz", None), ("", None)],
)
def test_did_you_mean(word: str, suggestion: str | None) -> None:
    """The most similar word, in the case in which it is known; nothing for what is known, or like nothing."""
    expected = "" if suggestion is None else f", did you mean '{suggestion}'?"
    assert did_you_mean(word, ["valid", "train", "SSC"]) == expected


def test_a_lower_bound() -> None:
    """Where one of a few must be meant, however it was written."""
    assert did_you_mean("zzz", ["train"], cutoff=0.0) == ", did you mean 'train'?"
    assert did_you_mean("zzz", [], cutoff=0.0) == ""
