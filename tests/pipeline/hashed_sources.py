"""Functions for the tests of sources and of the hash cache."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from spikestore.pipeline.sources import file_hashes, hash_cache
from spikestore.pipeline.sources.source_files import LocatedSource, make_source

CONTENT = bytes(range(256)) * 20_000  # 5 MB: several blocks
LATER = 10 * 10**9


def ssc(data: Path, cache: Path, **options: Any) -> LocatedSource:
    return make_source("SSC", "train", data, cache=cache, **options)


def write_content(folder: Path) -> Path:
    """Write a training file with any content, and return Tonic's ``save_to``."""
    (folder / "SSC").mkdir(parents=True)
    (folder / "SSC" / "ssc_train.h5").write_bytes(CONTENT)
    return folder


def entries(cache: Path) -> list[Path]:
    return [path for path in cache.rglob("*") if path.is_file()]


def count_reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that gets the names of hashed files; the clock is 10 s ahead, so that files are old enough to be cached."""
    hashed: list[str] = []
    original = file_hashes._sha256

    def counted(file: str, tally: Any) -> str:
        hashed.append(Path(file).name)
        return original(file, tally)

    monkeypatch.setattr(file_hashes, "_sha256", counted)
    real = hash_cache.now_ns
    monkeypatch.setattr(file_hashes, "now_ns", lambda: real() + LATER)
    return hashed


def in_place(path: Path) -> None:
    """Change a file's first byte, and its time."""
    with path.open("r+b") as file:
        file.write(b"\xff")
    os.utime(path, ns=(1, 1))


def damage_cut(data: bytes) -> bytes:
    return data[:-1]


def damage_digit(data: bytes) -> bytes:
    at = data.index(b'"sha256":"') + 10
    return data[:at] + (b"0" if data[at : at + 1] != b"0" else b"1") + data[at + 1 :]


def damage_empty(data: bytes) -> bytes:
    return b""


def damage_noise(data: bytes) -> bytes:
    return b"\x00\xff" * 50


def damage_huge(data: bytes) -> bytes:
    return data + b" " * 2**17
