"""``spikestore completion``: write a script with which a shell completes commands, options and names."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated

import typer

VARIABLE = "_SPIKESTORE_COMPLETE"
"""Environment variable with which a completion script asks for completions."""


class Shell(StrEnum):
    """Shells for which there is a completion script."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def completion(shell: Annotated[Shell, typer.Argument(help="The shell.")]) -> None:
    """Write a script with which bash, zsh or fish completes commands, options, recipes and names in a local store.

    Examples
    --------
    source <(spikestore completion bash)      # in ~/.bashrc
    source <(spikestore completion zsh)       # in ~/.zshrc, after compinit
    spikestore completion fish > ~/.config/fish/completions/spikestore.fish
    """
    from typer.completion import get_completion_script

    script = get_completion_script(prog_name="spikestore", complete_var=VARIABLE, shell=shell.value)
    sys.stdout.write(f"{script}\n")
