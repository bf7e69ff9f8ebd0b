"""Help texts from docstrings: so that a command's numpy docstring is all the help it needs."""

from __future__ import annotations

import inspect
import re

__all__ = ["help_text"]

_SECTION = re.compile(r"^(\w[\w ]*)\n-{3,}$", re.MULTILINE)


def help_text(docstring: str) -> str:
    r"""Return what ``--help`` shows of a command's numpy docstring.

    The text before the first section is kept, and the section ``Examples``, line by line as it was written.
    All other sections are for readers of the code: typer shows the parameters itself.

    Parameters
    ----------
    docstring : str
        A docstring, not yet cleaned.

    Returns
    -------
    str
        Text for typer's ``help=`` with its mark ``\b`` before what must not be wrapped.

    Examples
    --------
    >>> help_text("List.\n\nExamples\n--------\nspikestore ls\n\nReturns\n-------\nNone\n")
    'List.\n\n\x08\nExamples:\n  spikestore ls'
    """
    # [text, name of the first section, its body, name of the second, …]
    text, *rest = _SECTION.split(inspect.cleandoc(docstring))
    sections = dict(zip(rest[::2], rest[1::2], strict=True))
    parts = [text.strip()]
    if "Examples" in sections:
        lines = (f"  {line}".rstrip() for line in sections["Examples"].strip().splitlines())
        parts.append("\n".join(("\b", "Examples:", *lines)))
    return "\n\n".join(parts)
