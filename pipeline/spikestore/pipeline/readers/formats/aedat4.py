"""iniVation's ``.aedat4`` files, read by the library aedat."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from spikestore.pipeline.readers.formats.format import RawEvents, columns_of
from spikestore.store_schemas.errors import MissingExtraError


def read_aedat4(content: bytes) -> RawEvents:
    """Return the events of the first stream of events in a file, as Tonic does: t in µs as uint64, x, y as uint16, p as bool.

    Raises
    ------
    MissingExtraError
        The library is not installed.
    ValueError
        The file is not in this format, is damaged, or has no stream of events.
    """
    try:
        import aedat
    except ImportError:
        raise MissingExtraError(
            ".aedat4 files need the library aedat: pip install 'spikestore[formats]'"
        ) from None
    if not content:
        raise ValueError("the file is empty")
    with tempfile.TemporaryDirectory(prefix="spikestore-") as folder:  # the library reads paths only
        path = Path(folder) / "recording.aedat4"
        path.write_bytes(content)
        try:
            decoder = aedat.Decoder(str(path))
            streams = [
                number for number, stream in decoder.id_to_stream().items() if stream["type"] == "events"
            ]
            if not streams:
                raise ValueError("the file has no stream of events")
            packets = [packet["events"] for packet in decoder if packet["stream_id"] == min(streams)]
        except ValueError:
            raise
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt | SystemExit | MemoryError):
                raise
            # The library raises bare exceptions, and panics of Rust, which are no Exception.
            why = " ".join(str(error).split())[:200].replace(str(path), "the file")
            raise ValueError(f"the file is not in the format AEDAT 4, or is damaged ({why})") from None
    if not packets:
        return {name: np.empty(0, np.int64) for name in ("t", "x", "y", "p")}
    return columns_of(np.concatenate(packets))
