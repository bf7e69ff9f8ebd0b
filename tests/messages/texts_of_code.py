"""Collect the texts that a person can see from the product's source: messages, help, labels.

    python -m tests.messages.texts_of_code      # writes texts.txt again

A text is a string of at least three words that is not a docstring. A value in an f-string is shown as ``{expression}``; a
string inside such an expression is a text of its own.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
SNAPSHOT = Path(__file__).with_name("texts.txt")
_PACKAGES = ("store_schemas", "store", "pipeline", "train")
_MIN_WORDS = 3


def collect() -> str:
    """Return all texts, under the path of their module and in the order of the source."""
    blocks = []
    for package in _PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            texts = [
                text
                for text in texts_of(ast.parse(path.read_text(encoding="utf-8")))
                if len(text.split()) >= _MIN_WORDS
            ]
            if texts:
                blocks.append("\n".join([f"# {path.relative_to(ROOT).as_posix()}", *texts]))
    return "\n\n".join(blocks) + "\n"


def texts_of(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return  # a docstring, or the description of the name before it
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield _one_line(node.value)
    if isinstance(node, ast.JoinedStr):
        yield _one_line("".join(map(_shown, node.values)))
    for child in ast.iter_child_nodes(node):
        if not (isinstance(node, ast.JoinedStr) and isinstance(child, ast.Constant)):
            yield from texts_of(child)


def _shown(part: ast.expr) -> str:
    """Return what stands for a part of an f-string; Python versions differ in how they write strings inside of it."""
    if isinstance(part, ast.Constant):
        return str(part.value)
    assert isinstance(part, ast.FormattedValue)
    if any(isinstance(node, ast.JoinedStr) for node in ast.walk(part.value)):
        return "{…}"
    return f"{{{ast.unparse(part.value)}}}"


def _one_line(text: str) -> str:
    return " ".join(text.split())


if __name__ == "__main__":
    SNAPSHOT.write_text(collect(), encoding="utf-8")
