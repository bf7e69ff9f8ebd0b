"""Canonical bytes, and documents that contain their own hash."""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any

import numpy as np
import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from spikestore.store_schemas.errors import DamagedError, NewerFormatError, SpecError
from spikestore.store_schemas.specs.canonical import canonical_json, seal, sha256_hex, unseal

scalars: st.SearchStrategy[object] = st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1)
scalars |= st.floats(allow_nan=False, allow_infinity=False) | st.text(st.characters(codec="utf-8"))
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=2), inner),
    max_leaves=8,
)
documents = st.dictionaries(st.sampled_from(["a", "format_", "sel", "selfish", "z", "é"]), values)
names = st.text(st.characters(codec="utf-8"), max_size=3)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"b": 1, "a": [True, None, "x"]}, '{"a":[true,null,"x"],"b":1}'),
        (4000.0, "4000"),
        (1 / 7, "0.14285714285714285"),
        (1e21, "1e+21"),
        (1e-7, "1e-7"),
        (-0.0, "0"),
        ('ä€\n\u001f"', '"ä€\\n\\u001f\\""'),
        ({"\U0001f600": 1, "\ufb33": 2}, '{"\U0001f600":1,"\ufb33":2}'),
    ],
)
def test_examples_of_canonical_json(value: object, text: str) -> None:
    """RFC 8785: members sorted by UTF-16 units, no spaces, numbers as JavaScript prints them, UTF-8."""
    assert canonical_json(value) == text.encode()


@pytest.mark.parametrize(
    "value",
    [math.nan, math.inf, -math.inf, 2**53, -(2**53), np.int64(1), object(), {1: 2}, {"a": b"x"}, ["\ud800"]],
)
def test_values_without_a_canonical_form_are_rejected(value: object) -> None:
    """They are rejected, never written as a repr, a pickle or a rounded number."""
    with pytest.raises(SpecError, match="no canonical JSON form"):
        canonical_json(value)


@given(st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(names, inner), max_leaves=12))
def test_canonical_json_is_that_of_the_library(value: object) -> None:
    """Also for names that sort differently by their UTF-16 units, and for control characters."""
    assert canonical_json(value) == rfc8785.dumps(value)  # type: ignore[arg-type]


@given(documents)
def test_documents_survive_sealing(document: dict[str, Any]) -> None:
    """The document that is read equals the one that was written, and `self` is the hash of the document without it."""
    data = seal(document)
    assert unseal(data, path="p") == json.loads(canonical_json(document))
    assert json.loads(data)["self"] == hashlib.sha256(canonical_json(document)).hexdigest()
    assert data == canonical_json(json.loads(data, parse_int=float))  # RFC 8785 knows no integers beyond 2^53


@given(documents, st.data())
def test_any_flipped_bit_of_a_document_is_noticed(document: dict[str, Any], data: st.DataObject) -> None:
    """In a name, a number, the hash, or the punctuation."""
    sealed = bytearray(seal(document))
    bit = data.draw(st.integers(0, 8 * len(sealed) - 1))
    sealed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(DamagedError):
        unseal(bytes(sealed), path="p")


@given(documents, st.data())
def test_a_document_cut_short_is_noticed(document: dict[str, Any], data: st.DataObject) -> None:
    """A cut at any position is detected."""
    sealed = seal(document)
    with pytest.raises(DamagedError):
        unseal(sealed[: data.draw(st.integers(0, len(sealed) - 1))], path="p")


@pytest.mark.parametrize("document", [b"[]", b"{}", b"null", b"", b"\xff\xfe", b'{"self":1}', b'"self"'])
def test_unsealed_documents_are_damaged(document: bytes) -> None:
    """The error names the object."""
    with pytest.raises(DamagedError, match="some/path is damaged") as caught:
        unseal(document, path="some/path")
    assert caught.value.details["objects"] == ("some/path",)


def test_text_inside_a_document_is_never_taken_for_its_hash() -> None:
    """A text inside a string that looks like a member `self` has no effect; a nested member of that name is rejected before storing."""
    tricky = {"a": '"self":"' + "0" * 64 + '"', "b": ["self", "0" * 64], "self_": "0" * 64}
    assert unseal(seal(tricky), path="p") == tricky
    with pytest.raises(SpecError, match="a document must not contain a member 'self' that holds a SHA-256"):
        seal({"provenance": {"self": "0" * 64}})
    harmless = {"provenance": {"self": "me"}}
    assert unseal(seal(harmless), path="p") == harmless


def test_a_newer_format_is_distinguished_from_damage() -> None:
    """Only an intact document can have a newer format; the message says what to install."""
    with pytest.raises(
        NewerFormatError,
        match="format 2, but this version of spikestore reads format 1: install a newer version",
    ):
        unseal(seal({"format": 2, "what": "is this"}), path="p")
    with pytest.raises(DamagedError):
        unseal(seal({"format": 2}).replace(b"2", b"3", 1), path="p")


def test_nothing_but_an_object_is_a_document() -> None:
    """Other bytes with a member that has the right hash are no document."""
    for rest in (b"[]", b"{]", b"\xff"):
        body = b'{"a":1,"self":"' + sha256_hex(b'{"a":1' + rest).encode() + b'"' + rest
        with pytest.raises(DamagedError, match="not JSON"):
            unseal(body, path="p")
    with pytest.raises(DamagedError, match="not a JSON object"):
        unseal(b'[1,"self":"' + sha256_hex(b"[1]").encode() + b'"]', path="p")
