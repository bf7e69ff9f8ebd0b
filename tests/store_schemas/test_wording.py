"""Suggestions for misspelt words, counts with their nouns, and sizes."""

from __future__ import annotations

import pytest

from spikestore.store_schemas.wording import did_you_mean, plural, size_text


@pytest.mark.parametrize(
    ("word", "suggestion"),
    [("trian", "train"), ("ssc", "SSC"), ("TRAIN", "train"), ("train", None), ("zzz", None), ("", None)],
)
def test_did_you_mean(word: str, suggestion: str | None) -> None:
    """The most similar word is suggested, in its known case; known words and very different words get no suggestion."""
    expected = "" if suggestion is None else f", did you mean '{suggestion}'?"
    assert did_you_mean(word, ["valid", "train", "SSC"]) == expected


def test_a_lower_bound() -> None:
    """If one of a few words must be meant, it is suggested whatever was written."""
    assert did_you_mean("zzz", ["train"], cutoff=0.0) == ", did you mean 'train'?"
    assert did_you_mean("zzz", [], cutoff=0.0) == ""


@pytest.mark.parametrize(
    ("count", "noun", "text"),
    [
        (0, "recording", "0 recordings"),
        (1, "recording", "1 recording"),
        (2000, "time bin", "2,000 time bins"),
        (1, "class", "1 class"),
        (2, "class", "2 classes"),
        (3, "batch", "3 batches"),
    ],
)
def test_counts(count: int, noun: str, text: str) -> None:
    """A noun is in the plural unless its count is 1."""
    assert plural(count, noun) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 kB"), (12_800_000, "12.8 MB"), (1.28e13, "12,800.0 GB")],
)
def test_sizes(count: float, text: str) -> None:
    """Sizes are in powers of 1,000, with one decimal."""
    assert size_text(count) == text
