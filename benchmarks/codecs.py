"""Codecs for ``index`` and ``value``: ``python -m benchmarks.codecs [--size small|full] [--data DIR] [--json FILE]``.

One table is printed, for the choice in docs/decisions/0018-pcodec.md. For each codec, the table shows the bytes per
non-zero, the ratio of these bytes to the order-0 entropy of (gap, value), and the millions of values that one core
encodes and decodes in a second. Every codec gets full chunks of 65,536 values, as they are stored, and its decoded
values are compared with the original values.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.form import PINNED, arguments, timed

os.environ.update(PINNED)

ROUNDS = 5


class Candidate(NamedTuple):
    """A codec for a column."""

    name: str
    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], Any]


def main() -> None:
    """Print the table."""
    import numpy as np

    from benchmarks.bench import Bench, build, target
    from benchmarks.preprocess.stored_bytes import entropy, gaps_of
    from benchmarks.recordings import recordings_of
    from spikestore.pipeline.execution.schedulers import InProcess
    from spikestore.store_schemas.documents.zarr_metadata import CHUNK_VALUES

    options = arguments(__doc__ or "")
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        recordings = 600 if options.size == "small" else 2000
        data = recordings_of(options.data, scratch, recordings)
        bench = Bench.of(data, scratch, recordings, 0, 0)
        columns = build(bench, target(bench, recordings), InProcess()).read()
        if len(columns.index) == 0:
            raise SystemExit("the recordings have no events: there is nothing to encode")
        floor = (entropy(gaps_of(columns)) + entropy(columns.value)) / 8
        chunk = min(CHUNK_VALUES, len(columns.index))  # small sets are one short chunk
        whole = len(columns.index) // chunk * chunk
        chunks = {
            name: list(np.ascontiguousarray(getattr(columns, name)[:whole], np.uint32).reshape(-1, chunk))
            for name in ("index", "value")
        }
        rows = [
            measure(*pair, chunks, floor)
            for pair in zip(candidates("index"), candidates("value"), strict=True)
        ]
    document = {
        "benchmark": "codecs",
        "data": {"samples": len(columns), "nnz": len(columns.index), "entropy_bytes": round(floor, 4)},
        "rows": rows,
    }
    if options.json is not None:
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    out = sys.stdout.write
    out(f"codecs: {document['data']}\n")
    out("| codec | index, bytes | value, bytes | against entropy | encodes, million values/s | decodes |\n")
    out("|---|---|---|---|---|---|\n")
    for row in rows:
        out(
            f"| {row['codec']} | {row['index_bytes']:.3f} | {row['value_bytes']:.3f} | {row['against_entropy']:.2f} "
            f"| {row['encodes']:.0f} | {row['decodes']:.0f} |\n"
        )


def measure(index: Candidate, value: Candidate, chunks: dict[str, list[Any]], floor: float) -> dict[str, Any]:
    """Encode and decode both columns; return the bytes per non-zero of each column, and the median rates of `ROUNDS` rounds.

    `floor` is the entropy of both columns, in bytes per non-zero; sizes are compared with it.
    """
    import numpy as np

    sizes, encoding, decoding = {}, 0.0, 0.0
    for name, one in (("index", index), ("value", value)):
        encoded = [one.encode(chunk) for chunk in chunks[name]]
        for chunk, data in zip(chunks[name], encoded, strict=True):
            if not np.array_equal(one.decode(data), chunk):
                raise ValueError(f"{one.name} does not give back {name}")
        sizes[name] = sum(map(len, encoded)) / sum(map(len, chunks[name]))
        encoding += statistics.median(timed(partial(_each, one.encode, chunks[name])) for _ in range(ROUNDS))
        decoding += statistics.median(timed(partial(_each, one.decode, encoded)) for _ in range(ROUNDS))
    values = 2 * sum(map(len, chunks["index"]))
    return {
        "codec": index.name,
        "index_bytes": sizes["index"],
        "value_bytes": sizes["value"],
        "against_entropy": (sizes["index"] + sizes["value"]) / floor,
        "encodes": values / encoding / 1e6,
        "decodes": values / decoding / 1e6,
    }


def _each(work: Callable[[Any], object], values: Iterable[Any]) -> None:
    for value in values:
        work(value)


def candidates(column: str) -> list[Candidate]:
    """Return the codecs for a column; the first is the codec that the store uses."""
    order = 1 if column == "index" else 0
    return [
        *(pcodec(level, order) for level in (8, 4, 12)),
        *(of_bytes(f"Zstd {level} of gaps as bytes", zstd(level), column) for level in (1, 9)),
        of_bytes("Blosc LZ4 5, bits shuffled, of gaps as bytes", blosc("lz4"), column),
        of_bytes("Blosc Zstd 5, bits shuffled, of gaps as bytes", blosc("zstd"), column),
    ]


def pcodec(level: int, order: int) -> Candidate:
    """Return PCodec with consecutive deltas."""
    from numcodecs.pcodec import PCodec

    codec = PCodec(level=level, delta_spec="try_consecutive", delta_encoding_order=order)
    used = ", used" if level == 8 else ""
    return Candidate(f"PCodec {level}{used}", codec.encode, codec.decode)


def zstd(level: int) -> Any:
    """Return the codec Zstandard with a level of compression."""
    from numcodecs import Zstd

    return Zstd(level=level)


def blosc(inner: str) -> Any:
    """Return Blosc with bits shuffled."""
    from numcodecs import Blosc

    return Blosc(inner, 5, Blosc.BITSHUFFLE)


def of_bytes(name: str, codec: Any, column: str) -> Candidate:
    """Return a `Candidate` with a codec of numcodecs, such as Zstd.

    The codec gets the differences between indices, or the values, as single bytes. Numbers that need more than a byte are
    stored without the codec.
    """
    import numpy as np

    escape = 2**8 - 1

    def encode(values: Any) -> bytes:
        plain = np.diff(values, prepend=np.uint32(0)) if column == "index" else values
        # Larger values, and gaps from one sample to the next, which wrap around, are stored unshortened after the others.
        wide = plain >= escape
        parts = [bytes(codec.encode(np.where(wide, escape, plain).astype(np.uint8))), plain[wide].tobytes()]
        return len(parts[0]).to_bytes(8, "little") + b"".join(parts)

    def decode(data: bytes) -> Any:
        end = 8 + int.from_bytes(data[:8], "little")
        plain = np.frombuffer(codec.decode(data[8:end]), np.uint8).astype(np.uint32)
        plain[plain == escape] = np.frombuffer(data[end:], np.uint32)
        return np.cumsum(plain, dtype=np.uint32) if column == "index" else plain

    return Candidate(name, encode, decode)


if __name__ == "__main__":
    main()
