"""Descriptions of the fields of specs, from the docstrings after them."""

from __future__ import annotations

import ast
import functools
import inspect
import itertools
import textwrap
from collections.abc import Mapping

from pydantic import BaseModel


@functools.cache
def field_texts(model: type[BaseModel]) -> Mapping[str, str]:
    """Return the descriptions of the fields of a model, including inherited fields, each as one line without marks of reStructuredText."""
    inherited: dict[str, str] = {}
    for base in model.__bases__:
        if issubclass(base, BaseModel) and base is not BaseModel:
            inherited |= field_texts(base)
    source = ast.parse(textwrap.dedent(inspect.getsource(model)))
    tree = next(node for node in source.body if isinstance(node, ast.ClassDef))
    return inherited | {
        field.target.id: one_line(text.value.value)
        for field, text in itertools.pairwise(tree.body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }


def model_text(model: type[BaseModel]) -> str:
    """Return the first paragraph of a model's docstring, as one line without marks of reStructuredText."""
    return one_line(inspect.cleandoc(model.__doc__ or "").partition("\n\n")[0])


def one_line(text: str) -> str:
    """Return a docstring as one line without marks of reStructuredText."""
    return " ".join(text.split()).replace("``", "`")
