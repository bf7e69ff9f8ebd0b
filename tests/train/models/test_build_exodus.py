"""The messages of `make exodus` if exodus cannot be built."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from spikestore.train.models import build_exodus


@pytest.fixture
def cuda_torch(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Make torch report CUDA 13.0, and hide the toolkits of this machine."""
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    for name in ("CUDA_HOME", "CUDA_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    return monkeypatch


def toolkit(folder: Path, told: str) -> Path:
    """Write a toolkit whose nvcc reports a version."""
    nvcc = folder / "bin" / "nvcc"
    nvcc.parent.mkdir(parents=True)
    nvcc.write_text(f"#!/bin/sh\necho 'Cuda compilation tools, {told}'\n")
    nvcc.chmod(0o755)
    return folder


def test_a_cpu_build_of_torch(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The message says that torch has no CUDA, and what to do."""
    monkeypatch.setattr(torch.version, "cuda", None)
    assert build_exodus.main() == 2
    assert capsys.readouterr().err == (
        f"spikestore: error: exodus needs CUDA, but torch {torch.__version__} was built without it: "
        "install a CUDA build of torch, or use the backend 'fused'\n"
    )


def test_no_torch(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A missing package is named with the extra that brings it."""
    find = importlib.util.find_spec
    monkeypatch.setattr(build_exodus, "find_spec", lambda name: None if name == "sinabs" else find(name))
    assert build_exodus.main() == 2
    assert "exodus needs sinabs: pip install 'spikestore[train]' first" in capsys.readouterr().err


def test_no_toolkit(
    cuda_torch: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without nvcc, the message names the version to install."""
    is_file = Path.is_file
    monkeypatch.setattr(Path, "is_file", lambda path: path.name != "nvcc" and is_file(path))
    assert build_exodus.main() == 2
    assert "install a CUDA toolkit 13 (torch was built with CUDA 13.0)" in capsys.readouterr().err


@pytest.mark.parametrize(("told", "named"), [("release 12.4, V12.4.131", "12.4"), ("broken", "does not run")])
def test_a_toolkit_of_another_version(
    cuda_torch: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], told: str, named: str
) -> None:
    """Another major version is rejected; the message has both versions."""
    cuda_torch.setenv("CUDA_HOME", str(toolkit(tmp_path, told)))
    assert build_exodus.main() == 2
    said = capsys.readouterr().err
    assert "torch was built with CUDA 13.0" in said
    assert named in said
    assert "set CUDA_HOME to a toolkit of CUDA 13" in said


def test_builds_with_the_right_one(cuda_torch: Any, tmp_path: Path) -> None:
    """A toolkit of the same major version is used: from CUDA_HOME, or from the folder of nvcc."""
    home = toolkit(tmp_path, "release 13.2, V13.2.1")
    cuda_torch.setenv("CUDA_HOME", str(home))
    assert build_exodus.find_toolkit() == home
    cuda_torch.delenv("CUDA_HOME")
    cuda_torch.setattr(shutil, "which", lambda name: str(home / "bin" / "nvcc"))
    assert build_exodus.find_toolkit() == home


def test_a_working_exodus_needs_no_toolkit(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is built or looked for if EXODUS can be imported."""
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(build_exodus, "find_spec", lambda name: importlib.util.find_spec("torch"))
    monkeypatch.setattr(build_exodus, "works", lambda: True)
    assert build_exodus.main() == 0
    assert "works on this machine" in capsys.readouterr().err


def test_pip_is_called_with_the_recipe(
    cuda_torch: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It runs without isolation and dependencies, with the toolkit in the environment; a failure is reported with its step."""
    cuda_torch.setenv("CUDA_HOME", str(toolkit(tmp_path, "release 13.0")))
    calls: list[tuple[list[str], str]] = []

    class Done:
        stdout = "release 13.0"

        def __init__(self, command: list[str], **options: Any) -> None:
            self.returncode = 1 if "--no-build-isolation" in command or "-c" in command else 0
            calls.append((command, options.get("env", {}).get("CUDA_HOME", "")))

    cuda_torch.setattr(subprocess, "run", Done)
    assert build_exodus.main() == 1
    assert calls[-1][0][3:] == [
        "install", "--no-build-isolation", "--no-deps", "--no-cache-dir", "sinabs-exodus==2.0.0",
    ]  # fmt: skip
    assert calls[-1][1] == str(tmp_path)
    assert "can't build exodus: pip install --no-build-isolation" in capsys.readouterr().err
