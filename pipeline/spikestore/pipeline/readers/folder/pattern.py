"""Patterns of paths with named fields, such as ``{split}/{label}/user{user}_*.npy``.

``{name}`` matches one or more characters except ``/``. ``*`` matches any number of characters except ``/``. The part ``**``
matches any number of folders, and at the end of a pattern also the name of the file. A pattern must match the whole path.
"""

from __future__ import annotations

import re

_TOKEN = re.compile(r"\{(?P<name>[^{}]*)\}|(?P<star>\*+)|(?P<text>[^{}*]+)")
_FIELD = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


def is_field(name: str) -> bool:
    """Return whether a pattern may have a field of this name."""
    return _FIELD.fullmatch(name) is not None


class Pattern:
    """A pattern of paths with named fields.

    Parameters
    ----------
    text : str
        The pattern.

    Attributes
    ----------
    fields : tuple of str
        Names of the pattern's fields.

    Raises
    ------
    ValueError
        The pattern is not valid; the message says why.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        names: list[str] = []
        parts = text.split("/")
        if not text or "" in parts or ".." in parts or "." in parts:
            raise ValueError(
                f"the pattern {text!r} must be relative, and must not contain empty parts, '.' or '..'"
            )
        expression = ""
        for place, part in enumerate(parts):
            last = place == len(parts) - 1
            if part == "**":
                expression += "(?:[^/]+/)*" + ("[^/]+" if last else "")
                continue
            expression += self._part(part, names) + ("" if last else "/")
        self.fields = tuple(names)
        self._expression = re.compile(expression, re.DOTALL)

    def _part(self, part: str, names: list[str]) -> str:
        expression, end = "", 0
        for token in _TOKEN.finditer(part):
            if token.start() != end:
                break
            end = token.end()
            if token["text"] is not None:
                expression += re.escape(token["text"])
            elif token["star"] is not None:
                if len(token["star"]) > 1:
                    raise ValueError(
                        f"in the pattern {self._text!r}, ** must stand alone between two slashes, as in {{label}}/**/*.npy"
                    )
                expression += "[^/]*"
            else:
                name = token["name"]
                if not is_field(name):
                    raise ValueError(
                        f"in the pattern {self._text!r}, {{{name}}} is not a valid name: start with a letter, and use only letters, digits and _"
                    )
                if name in names:
                    raise ValueError(f"in the pattern {self._text!r}, {{{name}}} is used twice")
                names.append(name)
                expression += f"(?P<{name}>[^/]+?)"
        if end != len(part):
            raise ValueError(f"the pattern {self._text!r} has an unmatched brace")
        return expression

    def __str__(self) -> str:
        return self._text

    def fit(self, path: str) -> dict[str, str] | None:
        """Return the values of the fields in a path, or None if the path does not match the pattern."""
        match = self._expression.fullmatch(path)
        return None if match is None else match.groupdict()
