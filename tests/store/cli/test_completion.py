"""``spikestore completion``: the words that a shell offers, and the script in a real bash."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.store.small_sets import small_set

from spikestore.store import Store
from spikestore.store.cli.main import main


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a store with the names ``small`` and ``smart``."""
    store = Store(tmp_path_factory.mktemp("store"))
    features = small_set(64).build(store.storage)
    for name in ("small", "smart"):
        store.point(name, {"train": features})
    return store.storage.url


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> object:
    """Return a function that returns the offered words for a line whose last word is to be completed."""

    def complete(line: str) -> list[str]:
        monkeypatch.setenv("_SPIKESTORE_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", f"spikestore {line}")
        monkeypatch.setenv("COMP_CWORD", str(len(line.split(" "))))
        main([])
        captured = capsys.readouterr()
        assert captured.err == ""
        return captured.out.split()

    return complete


def test_words(offered, store: str, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    """Commands, options, values of options, recipes, and names of a local store are offered, but no names of a bucket, and no files."""
    assert offered("ver") == ["verify"]
    assert offered("-q preproc") == ["preprocess"]
    assert {"--store", "--json"} < {*offered("show --")}
    assert offered("export x --form web") == ["webdataset"]
    assert offered("plan spy") == ["spyx-shd"]
    assert offered(f"show --store {store} sma") == ["small", "smart"]
    assert offered(f"pull --from {store} smal") == ["small"]
    monkeypatch.setenv("SPIKESTORE_STORE", store)
    assert offered("diff small smar") == ["smart"]
    for nothing in ("show --store s3://bucket/x sma", "show --store ftp://x sma", "train con"):
        assert offered(nothing) == []


def test_an_error_is_shown_on_request_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Otherwise the message would be written into the line that the user is typing."""

    def broken(*_: object) -> None:
        raise RuntimeError("broken package")

    monkeypatch.setattr("spikestore.store.cli.main._application", broken)
    monkeypatch.setenv("_SPIKESTORE_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "spikestore ver")
    monkeypatch.setenv("COMP_CWORD", "1")
    for debug, shown in (("0", False), ("1", True)):
        monkeypatch.setenv("SPIKESTORE_DEBUG", debug)
        assert main([]) == 1
        captured = capsys.readouterr()
        assert captured.out == ""
        assert ("broken package" in captured.err) == shown


def test_another_shell_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "tcsh"]) == 2
    assert "Invalid value for 'shell': 'tcsh' is not one of 'bash', 'zsh', 'fish'." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("shell", "word"), [("bash", "complete -o"), ("zsh", "compdef"), ("fish", "complete --command")]
)
def test_scripts(shell: str, word: str, capsys: pytest.CaptureFixture[str]) -> None:
    """There is a script for each shell; an unknown shell is rejected."""
    assert main(["completion", shell]) == 0
    assert word in capsys.readouterr().out
    assert main(["completion", "tcsh"]) == 2


@pytest.mark.slow
def test_bash(store: str) -> None:
    """The script makes bash complete sub-commands and names."""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("no bash")
    script = f"""
        source <(spikestore completion bash)
        complete -p spikestore
        COMP_WORDS=(spikestore ver); COMP_CWORD=1; _spikestore_completion spikestore; echo "${{COMPREPLY[@]}}"
        COMP_WORDS=(spikestore show --store {store} sm); COMP_CWORD=4; _spikestore_completion spikestore
        echo "${{COMPREPLY[@]}}"
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [bash, "--norc", "-c", script],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [
        "complete -o default -F _spikestore_completion spikestore",
        "verify",
        "small smart",
    ]
    assert done.stderr == ""
