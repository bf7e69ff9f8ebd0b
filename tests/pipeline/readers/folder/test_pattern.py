"""Patterns of paths: the paths that they match, the values of their fields, and invalid patterns."""

from __future__ import annotations

import re

import pytest

from spikestore.pipeline.readers.folder.pattern import Pattern


@pytest.mark.parametrize(
    ("pattern", "path", "fields"),
    [
        ("{label}/*", "left/a.npy", {"label": "left"}),
        ("{label}/*", "left/more/a.npy", None),
        ("{label}/*", "a.npy", None),
        ("{split}/{label}/user{user}_*.npy", "train/left hand/user07_x_y.npy", {"split": "train", "label": "left hand", "user": "07"}),
        ("{label}_{user}.npy", "a_b_3.npy", {"label": "a", "user": "b_3"}),
        ("**/{label}/*.npy", "x/y/left/a.npy", {"label": "left"}),
        ("**/{label}/*.npy", "left/a.npy", {"label": "left"}),
        ("{label}/**", "left/x/y/a.npy", {"label": "left"}),
        ("{label}/**", "left", None),
        ("data.{label}.*", "dataX3.npy", None),
        ("data.{label}.*", "data.3.npy", {"label": "3"}),
        ("*.npy", "ä b.npy", {}),
    ],
)  # fmt: skip
def test_fields_of_paths(pattern: str, path: str, fields: dict[str, str] | None) -> None:
    assert Pattern(pattern).fit(path) == fields


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("", "must be relative, and must not contain empty parts"),
        ("/a/{label}", "must be relative, and must not contain empty parts"),
        ("../{label}", "must be relative, and must not contain empty parts"),
        ("{label}/{label}", "{label} is used twice"),
        ("{a b}/*", "{a b} is not a valid name: start with a letter, and use only letters, digits and _"),
        ("{1a}/*", "{1a} is not a valid name: start with a letter"),
        ("{label/*", "has an unmatched brace"),
        ("a**/{label}", "** must stand alone between two slashes"),
    ],
)
def test_what_is_no_pattern(pattern: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        Pattern(pattern)
