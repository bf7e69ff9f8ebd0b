"""AEDAT 3.1: the events that Tonic reads, and other content of cAER's files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.pipeline.folders import draw
from tests.pipeline.format_writers import AEDAT_HEADER, aedat_packets, read, table_of
from tonic.io import get_aer_events_from_file, read_aedat_header_from_file


def test_events_are_those_that_tonic_reads(tmp_path: Path) -> None:
    """Tonic's `read_dvs_ibm` fails on its own header; the test does what it does afterwards."""
    content = AEDAT_HEADER + aedat_packets(draw(3))
    path = tmp_path / "a.aedat"
    path.write_bytes(content)
    version, start, _ = read_aedat_header_from_file(str(path))
    stored = get_aer_events_from_file(str(path), version, start)
    address = stored["address"].astype(np.int64)
    expected = [stored["timeStamp"], address >> 17 & 0x1FFF, address >> 2 & 0x1FFF, address >> 1 & 1]
    assert read("a.aedat", content).tolist() == np.stack(expected, axis=1).tolist()


def test_other_packets_and_invalid_events_are_left_out() -> None:
    events = draw(3)
    kept = np.concatenate([events[start : start + 17] for start in range(0, len(events), 20)])
    content = (
        AEDAT_HEADER
        + aedat_packets(events[:7], kind=0)
        + aedat_packets(events, size=20, invalid=3)
        + aedat_packets(events[:5], kind=2, source=2)
    )
    assert len(events) % 20 == 0
    assert read("a.aedat", content).tolist() == table_of(kept).tolist()


def test_large_numbers() -> None:
    """Coordinates have 15 bits. The clock of a packet has 31; the header counts how often it started again."""
    late = draw(3).astype([("t", "<i8"), ("x", "<u2"), ("y", "<u2"), ("p", "u1")])
    late["t"] += 5 << 31
    late["x"][0], late["y"][1] = 32_767, 20_000
    assert read("a.aedat", AEDAT_HEADER + aedat_packets(late)).tolist() == table_of(late).tolist()


PACKET = aedat_packets(draw(3)[:2])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"#!AER-DAT3.0\r\n# x\r\n", r"version 3\.0 of AEDAT, should have 2\.0 or 3\.1: convert it"),
        (b"# x\r\n", "not in the format AEDAT: its first line should start with #!AER-DAT"),
        (AEDAT_HEADER.replace(b"RAW", b"SerializedTS"), "the encoding SerializedTS, should have RAW"),
        (AEDAT_HEADER[:-16], "no line #!END-HEADER"),
        (AEDAT_HEADER + PACKET[:20], "truncated in the header of a packet"),
        (AEDAT_HEADER + PACKET[:-1], r"the packet at byte \d+ does not end"),
        (AEDAT_HEADER + PACKET[:24] + b"\x01" + PACKET[25:], "has 2 valid events, its header says 1"),
        (AEDAT_HEADER + PACKET[:20] + b"\x09" + PACKET[21:], "contradicts itself"),
        (AEDAT_HEADER + PACKET + aedat_packets(draw(3)[:2], source=3), "events of 2 sensors"),
    ],
)
def test_other_files_are_named(content: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read("a.aedat", content)
