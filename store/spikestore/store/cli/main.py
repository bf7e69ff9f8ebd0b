"""The command line ``spikestore``, with sub-commands from entry points.

A sub-command is an entry point of the group ``spikestore.commands``: its name is the command's name, and
its object is a plain function with typer annotations. So any package can add commands, and this module need not import
these packages.

1. ``spikestore NAME …`` loads only the entry point of that name.
2. ``spikestore --help`` loads all entry points, because it shows the first line of each docstring. Command modules therefore
   import large packages inside their functions.
3. The exit status is 0 if the command is done, 1 if it failed, 2 after wrong use, 130 after Ctrl-C. An error of a command
   becomes a message on stderr.

A command fails by raising a :class:`~spikestore.store_schemas.errors.SpikestoreError`, or ``typer.Exit(1)`` after it has
reported the reason. This module shows the log on stderr, so commands add no handlers of their own.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import inspect
import logging
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from spikestore.store.cli.commands.completion import VARIABLE
from spikestore.store.cli.console import logs_on_stderr, say
from spikestore.store.cli.help import help_text
from spikestore.store.cli.interrupts import end_quietly, raise_dropped_interrupt
from spikestore.store.cli.limits import limit_reached
from spikestore.store.cli.streams import lenient_streams
from spikestore.store_schemas.errors import MissingExtraError, SpecError, SpikestoreError, UsageError

__all__ = ["main"]

GROUP = "spikestore.commands"
"""Entry point group of the sub-commands."""

_PACKAGE = "spikestore"

_EXTRA_OF_MODULE = {
    "dask": "pipeline",
    "distributed": "pipeline",
    "h5py": "pipeline",
    "sinabs": "train",
    "tensorboard": "train",
    "torch": "train",
}

_EXCLUSIVE = "--verbose and --quiet cannot be combined: pass one of them"

_HELP = """
Compute event-data features once, share them in a store, and train without waiting for data.

Examples
--------
spikestore demo-data data/demo
spikestore preprocess recipes/demo.toml --store ./feature_store
spikestore ls --store ./feature_store
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program's name; by default the arguments of the process.

    Returns
    -------
    int
        The exit status: 0 done, 1 failed, 2 wrong use, 130 interrupted.
    """
    arguments = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    # pydantic would read the metadata of every installed package in search of its plugins.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "1")
    if VARIABLE in os.environ:
        return _complete(os.environ[VARIABLE])
    command = _command(arguments)
    with lenient_streams() as stdout:
        status = _status(arguments, command)
        stdout.flush()  # a full disk or a closed pipe raises here, not at interpreter exit
        if stdout.lost is None:
            return status
        if not isinstance(stdout.lost, BrokenPipeError):  # raised when a reader such as `head` ends
            say(f"spikestore: error: cannot write the output to stdout: {stdout.lost.strerror}")
        return status or 1


def _command(words: Sequence[str]) -> str | None:
    """Return the command: the first word that is not an option; None if there is no such word.

    No word can be the argument of an option, because the options before a command have no arguments.
    """
    return next((word for word in words if not word.startswith("-")), None)


def _complete(instruction: str) -> int:
    """Write completions to stdout, for the script of ``spikestore completion``. The shell passes the command line in environment variables."""
    from typer.completion import completion_init, shell_complete

    words = os.environ.get("COMP_WORDS") or os.environ.get("_TYPER_COMPLETE_ARGS", "")
    completion_init()
    try:
        root = typer.main.get_command(_application(_command(words.split()[1:])))
        return shell_complete(root, {}, "spikestore", VARIABLE, instruction)
    except Exception as error:
        # No completions, and no message: it would be written into the line that the user is typing.
        _say_traceback_if_wanted(error)
        return 1


def _status(arguments: list[str], command: str | None) -> int:
    """Run a command and return its exit status; if the command fails, write its error to stderr."""
    try:
        return _run(arguments, command)
    except typer.Exit as signal:
        return signal.exit_code
    except typer.Abort:
        say("aborted")
        return 1
    except KeyboardInterrupt:
        end_quietly()
        # What is stored may be older than this command: then --restart had not begun.
        restarted = "--restart" in arguments
        how = (
            "again to start over, or without --restart to resume what is stored"
            if restarted
            else "again to resume"
        )
        say(f"interrupted; run the same command {how}")
        return 130
    except Exception as error:
        return _report(error, command)


def _run(arguments: list[str], command: str | None) -> int:
    _refuse_empty(arguments, command)
    # Not Command.main(), which turns errors into exits of its own; these two calls are its core.
    root = typer.main.get_command(_application(command))
    with root.make_context("spikestore", arguments) as context:
        status = root.invoke(context)
    raise_dropped_interrupt()  # commands without a store do not call it
    return status if type(status) is int else 0


def _refuse_empty(arguments: list[str], command: str | None) -> None:
    """Reject an empty argument, because an empty path would mean the current folder."""
    for position, word in enumerate(arguments):
        option, is_joined, value = word.partition("=")
        if word and not (option.startswith("--") and is_joined and not value):
            continue
        before = arguments[position - 1] if position else ""
        if word:
            which = f"the value of {option}"
        elif before.startswith("--") and before != "--" and "=" not in before:
            which = f"the value of {before}"
        elif command in arguments[:position]:
            which = f"argument {position - arguments.index(command)} of {command}"
        else:
            which = f"argument {position + 1}"
        raise UsageError(f"{which} is empty (is a variable not set?)")


def _application(command: str | None) -> typer.Typer:
    application = typer.Typer(add_completion=False, rich_markup_mode="rich", help=help_text(_HELP))
    application.callback()(_top_level)
    for name, entry_point in _entry_points(command).items():
        function, text = _absent, ""  # the names of other commands suffice for suggestions
        if command in (None, name):
            try:
                function = _with_loudness(entry_point.load())
                text = help_text(function.__doc__ or "")
            except Exception as error:
                if command == name:
                    raise
                text = str(_missing_extra(error, name) or f"This command cannot be loaded: {error}")
        application.command(name=name, help=text)(function)
    return application


def _with_loudness(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --verbose and --quiet to a command, so that they may follow its name; if the command has such an option already, return it unchanged."""
    signature = inspect.signature(function, eval_str=True)
    notes = [
        note for p in signature.parameters.values() for note in getattr(p.annotation, "__metadata__", ())
    ]
    taken = {flag for note in notes for flag in getattr(note, "param_decls", None) or ()} | {
        f"--{name}" for name in signature.parameters
    }
    if taken & {"--verbose", "-v", "--quiet", "-q"}:
        return function

    @functools.wraps(function)
    def command(*, verbose: bool, quiet: bool, **given: Any) -> Any:
        if verbose and quiet:
            raise typer.BadParameter(_EXCLUSIVE)
        if verbose or quiet:  # `_top_level` restores the level
            logging.getLogger("spikestore").setLevel(logging.DEBUG if verbose else logging.WARNING)
        return function(**given)

    flags = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=False,
            annotation=Annotated[bool, typer.Option(f"--{name}", f"-{name[0]}", hidden=True)],
        )
        for name in ("verbose", "quiet")
    ]
    parameters = [*signature.parameters.values(), *flags]
    command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


def _entry_points(command: str | None) -> dict[str, importlib.metadata.EntryPoint]:
    """Return the commands by name: the commands of this package if `command` is one of them, else the commands of all packages."""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        own = importlib.metadata.distribution(_PACKAGE).entry_points.select(group=GROUP)
        if command in own.names:
            return {point.name: point for point in sorted(own)}
    return {point.name: point for point in sorted(importlib.metadata.entry_points(group=GROUP))}


def _absent() -> None:
    """Do nothing; this function stands for a command that is not loaded, because another command is run or the import fails."""


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"spikestore {importlib.metadata.version(_PACKAGE)}")
        raise typer.Exit


def _top_level(
    context: typer.Context,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Write debug messages to stderr.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Write only warnings and errors.")] = False,
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version and exit.", callback=_show_version),
    ] = False,
) -> None:
    if verbose and quiet:
        raise typer.BadParameter(_EXCLUSIVE)
    context.with_resource(logs_on_stderr(verbose=verbose, quiet=quiet))


def _report(error: Exception, command: str | None) -> int:
    """Write an error to stderr and return the exit status."""
    error = _missing_extra(error, command) or error
    _say_traceback_if_wanted(error)
    if isinstance(error, SpikestoreError):
        say(f"spikestore: error: {error.message}")
        for problem in error.problems if isinstance(error, SpecError) else ():
            if problem.message not in error.message:
                say(f"  {problem.path}: {problem.message}")
        return error.exit_code
    # Errors of typer about the arguments: they have no public base class.
    if hasattr(error, "format_message"):
        # pydantic puts the name of its error in front.
        say(f"spikestore: error: {error.format_message().replace('Value error, ', '')}")
        say(f"  see: spikestore {f'{command} ' if command in _entry_points(command) else ''}--help")
        return 2
    if (limit := limit_reached(error, command)) is not None:
        say(f"spikestore: error: {limit}")
        return 1
    if isinstance(error, OSError) and error.strerror and error.filename:
        say(f"spikestore: error: {error.filename}: {error.strerror}")
        return 1
    text = " ".join(str(error).split())
    say(f"spikestore: unexpected error: {type(error).__name__}{f': {text}' if text else ''}")
    say("  this is a bug in spikestore: set SPIKESTORE_DEBUG=1 for the traceback, and please report it")
    return 1


def _say_traceback_if_wanted(error: Exception) -> None:
    """Write the traceback of an error to stderr if SPIKESTORE_DEBUG is set."""
    if os.environ.get("SPIKESTORE_DEBUG", "0") not in ("", "0"):
        say("".join(traceback.format_exception(error)).rstrip())


def _missing_extra(error: Exception, command: str | None) -> MissingExtraError | None:
    """Return the error that names the missing extra, or None if `error` has another cause."""
    if not isinstance(error, ModuleNotFoundError):
        return None
    module = (error.name or "").partition(".")[0]
    extra = _EXTRA_OF_MODULE.get(module)
    if module == "numba":  # of two extras
        point = _entry_points(command).get(command or "")
        extra = "train" if point is not None and point.value.startswith("spikestore.train.") else "pipeline"
    if extra is None:
        return None
    message = f"spikestore {command} needs the extra '{extra}': pip install 'spikestore[{extra}]'"
    return MissingExtraError(message, command=command, extra=extra, module=error.name)
