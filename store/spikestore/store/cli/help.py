"""Help texts of commands, made from their numpy docstrings."""

from __future__ import annotations

import inspect
import re

__all__ = ["help_text"]

_SECTION = re.compile(r"^(\w[\w ]*)\n-{3,}$", re.MULTILINE)


def help_text(docstring: str) -> str:
    r"""Return the ``--help`` text of a command's numpy docstring.

    The text has two parts: what comes before the first section, with each paragraph on one line; and the section
    ``Examples``, in which every line is indented and kept. Other sections are left out: typer shows the parameters itself.

    Parameters
    ----------
    docstring : str
        The docstring; its lines may be indented.

    Returns
    -------
    str
        Text for typer's ``help=``. The mark ``\b`` precedes lines that typer must not wrap.

    Examples
    --------
    >>> help_text("List.\n\nExamples\n--------\nspikestore ls\n\nReturns\n-------\nNone\n")
    'List.\n\n\x08\nExamples:\n  spikestore ls'
    """
    # [text, name of the first section, its body, name of the second, …]
    text, *rest = _SECTION.split(inspect.cleandoc(docstring))
    sections = dict(zip(rest[::2], rest[1::2], strict=True))
    parts = [" ".join(paragraph.split()) for paragraph in text.strip().split("\n\n")]
    if "Examples" in sections:
        lines = (f"  {line}".rstrip() for line in sections["Examples"].strip().splitlines())
        parts.append("\n".join(("\b", "Examples:", *lines)))
    return "\n\n".join(parts)
