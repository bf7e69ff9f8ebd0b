"""Canonical bytes: RFC 8785 JSON, SHA-256, and documents that contain their own hash.

A stored document is the RFC 8785 form of a JSON object with one more member, ``self``: the SHA-256 (hex) of the same document
without this member. A flipped bit in a name, a number or the hash is therefore detected before any member is used
(docs/format.md, "Documents").
"""

from __future__ import annotations

import hashlib
import json
import re
from json.encoder import encode_basestring
from typing import Any, Final

import rfc8785

from spikestore.store_schemas.errors import DamagedError, NewerFormatError, SpecError

FORMAT: Final = 1
"""Number of the store format: the only format that this version writes and reads."""

LARGEST_INTEGER = 2**53 - 1
"""Largest integer that RFC 8785 represents exactly."""

_VERSION = re.compile(r"[0-9]{1,4}(\.[0-9]{1,6}){1,3}((a|b|rc)[0-9]{1,4})?(\.(dev|post)[0-9]{1,6})?")
_BLANK = "0" * 64
_SELF = re.compile(rb',?"self":"([0-9a-f]{64})"')


def canonical_json(document: Any) -> bytes:
    """Return the RFC 8785 bytes of a JSON-like value.

    Raises
    ------
    SpecError
        The value has no canonical form: NaN, infinity, an integer beyond ±(2^53 - 1), a text with half of a surrogate
        pair, or a type that JSON lacks.
    """
    try:
        return _canonical_text(document).encode("utf-8")
    except (rfc8785.CanonicalizationError, UnicodeEncodeError) as error:
        raise SpecError(f"the value has no canonical JSON form: {error}") from error


def _canonical_text(value: Any) -> str:
    """Return the RFC 8785 form of a value."""
    # For a list of files, the package rfc8785 takes more than twice the time of this function.
    kind = type(value)
    if kind is str:
        return encode_basestring(value)
    if kind is int and -LARGEST_INTEGER <= value <= LARGEST_INTEGER:
        return str(value)
    if kind is list:
        return f"[{','.join(map(_canonical_text, value))}]"
    # rfc8785 sorts names by their UTF-16 units, which is the order of Python for ASCII.
    if kind is dict and all(type(name) is str and name.isascii() for name in value):
        members = [f"{encode_basestring(name)}:{_canonical_text(value[name])}" for name in sorted(value)]
        return f"{{{','.join(members)}}}"
    return rfc8785.dumps(value).decode("utf-8")


def sha256_hex(data: bytes) -> str:
    """Return the SHA-256 of `data` as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def seal(document: dict[str, Any]) -> bytes:
    """Return the canonical bytes of `document` with a member ``self`` added: the SHA-256 of the canonical bytes without this member.

    Raises
    ------
    SpecError
        The document has no canonical form, or a member ``self`` below its top level holds a SHA-256. A member ``self`` on the top
        level is replaced.
    """
    # Cutting the member out again takes less time than a second canonical form of a large document.
    blank = canonical_json({**document, "self": _BLANK})
    matches = list(_SELF.finditer(blank))
    if len(matches) != 1:  # ambiguous for `unseal`
        raise SpecError(
            "a document must not contain a member 'self' that holds a SHA-256, because spikestore adds such a member: rename your member"
        )
    own_hash = sha256_hex(_without(blank, matches[0])).encode("ascii")
    begin, end = matches[0].span(1)
    return blank[:begin] + own_hash + blank[end:]


def unseal(data: bytes, *, path: str) -> dict[str, Any]:
    """Check a document against its member ``self``, the hash of its other members, and return it without this member.

    Parameters
    ----------
    data : bytes
        The stored bytes.
    path : str
        Path of the object, for error messages.

    Raises
    ------
    DamagedError
        The bytes are not JSON, or do not match their own hash.
    NewerFormatError
        The document has a newer format.
    """
    # Cutting the member out of the bytes avoids canonicalising megabytes again. A quote inside a JSON string is
    # escaped, so this pattern matches only names of members; more than one match is rejected.
    matches = list(_SELF.finditer(data))
    if len(matches) != 1:
        raise _damaged(path, "it must have exactly one member 'self', the hash of its content")
    member = matches[0]
    rest = _without(data, member)
    if sha256_hex(rest) != member.group(1).decode("ascii"):
        raise _damaged(path, "its content does not match the hash that it contains")
    try:
        document = json.loads(rest)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, "it is not JSON") from error
    if not isinstance(document, dict):
        raise _damaged(path, "it is not a JSON object")
    refuse_newer_format(document, path=path)
    return document


def _without(data: bytes, member: re.Match[bytes]) -> bytes:
    """Return the bytes of a document without its member ``self``, the hash of the other members."""
    rest = data[: member.start()] + data[member.end() :]
    if member.start() == 1:  # the first member: remove the comma after it too
        rest = rest[:1] + rest[2:] if rest[1:2] == b"," else rest
    return rest


def refuse_newer_format(document: dict[str, Any], *, path: str) -> None:
    """Raise `NewerFormatError` if the format of `document` is above `FORMAT`."""
    number = document.get("format")
    if isinstance(number, int) and number > FORMAT:
        raise newer_format(
            document,
            f"{path} has store format {number}, but this version of spikestore reads format {FORMAT}",
            path=path,
        )


def newer_format(document: dict[str, Any], problem: str, *, path: str) -> NewerFormatError:
    """Return the error for a document that this version cannot read; its message says which version to install."""
    writer = _version_of_writer(document)
    advice = (
        f"install version {writer}, which wrote this object, or a newer version (pip install --upgrade 'spikestore>={writer}')"
        if writer
        else "install a newer version (pip install --upgrade spikestore)"
    )
    return NewerFormatError(f"{problem}: {advice}", path=path, format=document.get("format"), version=writer)


def _version_of_writer(document: dict[str, Any]) -> str | None:
    """Return the version of spikestore in a manifest's provenance; None for other documents."""
    version: Any = document
    for name in ("provenance", "packages", "spikestore"):
        version = version.get(name) if isinstance(version, dict) else None
    # Only plain versions: users may paste the command that contains this text into a shell.
    return version if isinstance(version, str) and _VERSION.fullmatch(version) else None


def _damaged(path: str, why: str) -> DamagedError:
    return DamagedError(f"{path} is damaged: {why}", path=path, objects=(path,))
