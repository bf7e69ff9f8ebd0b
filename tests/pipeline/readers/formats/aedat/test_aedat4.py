"""``.aedat4`` files: the events that Tonic reads; no damaged file ends the process."""

from __future__ import annotations

import contextlib
import sys

import numpy as np
import pytest
import tonic.io
from tests.pipeline.format_writers import FILES, read

from spikestore.pipeline.readers.formats.aedat import aedat4
from spikestore.store_schemas.errors import MissingExtraError


@pytest.mark.parametrize("name", ["lz4.aedat4", "zstd.aedat4"])
def test_aedat4_is_tonics(name: str) -> None:
    pytest.importorskip("aedat")
    theirs = tonic.io.read_aedat4(str(FILES / name))
    ours = read(name, (FILES / name).read_bytes())
    assert ours.tolist() == [[int(event[field]) for field in ("t", "x", "y", "on")] for event in theirs]


@pytest.mark.parametrize("damage", ["empty", "cut", "noise", "header only"])
def test_a_damaged_aedat4_is_a_value_error(damage: str) -> None:
    pytest.importorskip("aedat")
    content = (FILES / "lz4.aedat4").read_bytes()
    noise = np.random.default_rng(0).bytes(900)
    damaged = {
        "empty": b"",
        "cut": content[: len(content) // 2],
        "noise": noise,
        "header only": content[:14],
    }[damage]
    with pytest.raises(ValueError, match="the file is "):
        read("a.aedat4", damaged)


def test_a_file_at_which_the_library_aborts_is_named_and_the_next_is_read(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Whatever is wrong with the file, this process continues, and stderr stays empty."""
    pytest.importorskip("aedat")
    content = (FILES / "lz4.aedat4").read_bytes()
    rng = np.random.default_rng(2)
    for _ in range(60):
        damaged = bytearray(content)
        for place in rng.integers(0, len(content), 5):
            damaged[place] = rng.integers(0, 256)
        with contextlib.suppress(ValueError):
            read("a.aedat4", bytes(damaged))
    assert len(read("a.aedat4", content)) == 40
    assert capfd.readouterr().err == ""


def test_a_decoder_that_ended_is_replaced() -> None:
    pytest.importorskip("aedat")
    content = (FILES / "lz4.aedat4").read_bytes()
    assert len(read("a.aedat4", content)) == 40
    aedat4._of_thread.decoder._process.kill()
    aedat4._of_thread.decoder._process.wait()
    with pytest.raises(ValueError, match="the file is damaged: the library aedat ended while it decoded it"):
        read("a.aedat4", content)
    assert len(read("a.aedat4", content)) == 40


def test_a_missing_library_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aedat", None)
    with pytest.raises(MissingExtraError, match=r"aedat: pip install 'spikestore\[formats\]'"):
        read("a.aedat4", b"content")
