"""All texts of the product equal the list in ``texts.txt``, so that a reviewer sees each change of a text."""

from __future__ import annotations

import ast
import difflib

from tests.messages.texts_of_code import SNAPSHOT, collect, texts_of

SOURCE = """
'Docstring of a module.'
NAME = "two"
'Docstring of a name.'

def function(path):
    'Docstring of a function.'
    raise ValueError(
        f"{path} is not a file: "
        f"{', '.join(f'name {one} of all' for one in path)}"
    )
"""


def test_texts_are_those_of_the_list() -> None:
    expected, now = SNAPSHOT.read_text(encoding="utf-8").splitlines(), collect().splitlines()
    changes = "\n".join(difflib.unified_diff(expected, now, "texts.txt", "the source", lineterm="", n=1))
    assert not changes, f"{changes}\nIf this is meant: python -m tests.messages.texts_of_code"


def test_texts_that_are_listed() -> None:
    assert list(texts_of(ast.parse(SOURCE))) == ["two", "{path} is not a file: {…}", ",", "name {one} of all"]
