"""Help texts of commands: no word is lost, and the terminal wraps them once."""

from __future__ import annotations

import typer
from rich.text import Text

from spikestore.store.cli.help import help_text
from spikestore.store.cli.main import _application


def test_no_help_text_is_lost_as_markup() -> None:
    """Rich leaves out a word in brackets such as ``[sweep]``, because it reads it as the name of a style."""
    group = typer.main.get_command(_application(None))
    commands = group.commands.values()  # type: ignore[attr-defined]
    texts = [
        text for one in commands for text in (one.help, *(getattr(p, "help", "") for p in one.params)) if text
    ]
    assert len(texts) > 100
    assert [text for text in texts if Text.from_markup(text).plain != text.replace("\b", "")] == []


def test_paragraphs_are_wrapped_by_the_terminal_alone() -> None:
    """Otherwise line ends of the source would end lines of a paragraph early."""
    assert help_text("First.\n\nOne\ntwo\n\nthree.\n") == "First.\n\nOne two\n\nthree."
