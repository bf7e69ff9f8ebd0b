"""A reader written from docs/format.md alone: plain zarr and numpy, nothing of spikestore."""

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import zarr

ORDER = ("nnz", "n_bins", "index", "value", "label", "speaker", "n_events", "n_cropped", "n_dropped")
LITTLE = {"uint32": "<u4", "uint64": "<u8", "int32": "<i4", "float32": "<f4"}


def canonical(document: Any) -> bytes:  # enough of RFC 8785 for what is hashed; whole floats print as integers
    plain = json.loads(json.dumps(document), parse_float=lambda n: int(float(n)) if float(n) % 1 == 0 else float(n))
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def document(path: Path) -> dict[str, Any]:
    text = path.read_bytes()
    (member,) = re.finditer(rb',"self":"([0-9a-f]{64})"', text)
    if hashlib.sha256(text[: member.start()] + text[member.end() :]).hexdigest() != member[1].decode():
        raise ValueError(f"{path} does not match its own hash")
    return json.loads(text)  # type: ignore[no-any-return]


class Reader:
    def __init__(self, store: Path, name: str) -> None:
        ref = document(max((store / "refs" / name.split(":")[0]).glob("*.json")))
        self.pin = ref["splits"][name.split(":")[1]]
        folder = store / "features" / self.pin["transform_key"] / self.pin["source_key"]
        self.manifest = document(folder / "manifest.json")
        for part in ("transform", "source"):
            key = hashlib.sha256(canonical({"format": 1, **self.manifest[part]})).hexdigest()
            if key != self.pin[f"{part}_key"]:
                raise ValueError(f"the {part} has another key")
        if self.manifest["digest"] != self.pin["digest"]:
            raise ValueError("the ref pins another digest")
        self.layout = self.manifest["layout"]
        self.zarr = zarr.open_group(folder / "builds" / self.manifest["plan"][:12] / "data.zarr", mode="r")
        names = [one for one, _ in self.layout["columns"] if one not in {"index", "value"}]
        self.rows: dict[str, Any] = {one: np.asarray(self.zarr[one]) for one in [*names, "start"]}  # type: ignore[call-overload]

    def values(self, column: str, row: int) -> Any:
        first = int(self.rows["start"][row])
        return self.zarr[column][first : first + int(self.rows["nnz"][row])]  # type: ignore[index]

    def samples(self) -> Iterator[Any]:
        for row, bins in enumerate(self.rows["n_bins"]):
            frames = np.zeros((int(bins), *self.layout["sites"]), self.zarr["value"].dtype)  # type: ignore[union-attr]
            frames[np.unravel_index(self.values("index", row), frames.shape)] = self.values("value", row)
            yield frames

    def digest(self) -> str:
        samples, dtypes = self.manifest["samples"], dict(self.layout["columns"])
        head = {**self.layout, "format": 1, "samples": samples, "skipped": [r["row"] for r in self.manifest["skipped"]]}
        hashes = hashlib.sha256(canonical(head)).digest()
        for block in range(0, samples, 64):
            data, rows = b"", range(block, min(block + 64, samples))
            for name in [one for one in ORDER if one in dtypes]:
                split = name in {"index", "value"}
                part = np.concatenate([self.values(name, r) for r in rows]) if split else self.rows[name][block : block + 64]
                data += part.astype(LITTLE[dtypes[name]]).tobytes()
            hashes += hashlib.sha256(data).digest()
        return hashlib.sha256(hashes).hexdigest()
