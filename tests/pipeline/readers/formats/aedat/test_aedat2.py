"""AEDAT 2.0: the events that Tonic and SpikingJelly read, and other content of jAER's files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.pipeline.folders import draw
from tests.pipeline.format_writers import aedat2, read, table_of
from tonic.io import get_aer_events_from_file, read_aedat_header_from_file, read_davis_346

DVS128, DAVIS = aedat2(), aedat2("eu.seebetter.ini.chips.davis.Davis346B")
HEADER = DVS128(draw(3)[:0])


def words(*numbers: int) -> bytes:
    return np.array(numbers, ">u4").tobytes()


def test_events_of_a_davis_are_those_that_tonic_reads(tmp_path: Path) -> None:
    path = tmp_path / "a.aedat"
    # Tonic takes each line that begins with # for a line of the header, and knows no line that ends the header.
    path.write_bytes(aedat2("DAVI346")(draw(3)))
    _, _, theirs = read_davis_346(str(path))
    expected = np.stack([theirs[field].astype(np.int64) for field in "txyp"], axis=1)
    assert read("a.aedat", path.read_bytes()).tolist() == expected.tolist()


def test_events_of_a_dvs128_are_those_that_spikingjelly_reads(tmp_path: Path) -> None:
    """For CIFAR10-DVS, SpikingJelly also exchanges the axes: its x is y here."""
    events = draw(3)
    path = tmp_path / "a.aedat"
    path.write_bytes(DVS128(events))
    version, start, _ = read_aedat_header_from_file(str(path))
    stored = get_aer_events_from_file(str(path), version, start)
    address = stored["address"].astype(np.int64)
    x, y = 127 - ((address & 0x7F00) >> 8), 127 - ((address & 0xFE) >> 1)
    expected = np.stack([stored["timeStamp"], y, x, 1 - (address & 1)], axis=1)
    assert read("a.aedat", path.read_bytes()).tolist() == expected.tolist() == table_of(events).tolist()


def test_what_is_no_event_of_a_pixel_is_left_out() -> None:
    """Signals at the input, and samples of images and of motion, are left out; times have 32 bits; an address may begin with the byte of #."""
    events = draw(3)
    events["t"][-1] = 2**32 - 1
    content = DVS128(events) + words(1 << 15 | 5 << 8, 7)
    assert read("a.aedat", content).tolist() == table_of(events).tolist()
    events["y"][0] = 259 - (ord("#") << 24 >> 22) - 1
    content = DAVIS(events) + words(1 << 31 | 7 << 12, 8, 1 << 10 | 7 << 12, 9)
    assert read("a.aedat", content).tolist() == table_of(events).tolist()


def test_an_event_of_ascii_bytes_is_no_line_of_the_header() -> None:
    """Without the line that ends a header, an event whose address begins with #, and whose time ends with a line feed, is read too."""
    header = b"#!AER-DAT2.0\r\n#\r\n# AEChip:\tDAVIS346B\r\n"
    address = int.from_bytes(b"#\x01\x20\x00", "big")
    assert read("a.aedat", header + words(address, 10, 1 << 22, 11))[:, 0].tolist() == [10, 11]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (HEADER + words(1)[:3], "its 3 bytes of events are not a multiple of 8"),
        (HEADER + words(1 << 15, 5, 200 << 22, 0), r"address 0x32000000, which is outside the 128 x 128 pixels of a DVS128 \(the file has"),
        (DAVIS(draw(3)[:1]) + words(260 << 22, 0), "event 1 has .* outside the 346 x 260 pixels of eu"),
        (aedat2("ch.unizh.ini.jaer.chip.cochlea.CochleaAMS1c")(draw(3)), "of the chip ch.*CochleaAMS1c, should be of a DVS128, or a DAVIS"),
        (b"#!AER-DAT1.0\r\n", r"version 1\.0 of AEDAT, should have 2\.0 or 3\.1: convert it"),
    ],
)  # fmt: skip
def test_other_files_are_named(content: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read("a.aedat", content)
