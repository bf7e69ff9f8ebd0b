"""A reader written from docs/format.md only: zarr and numpy, nothing of spikestore."""

import json
import re
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import zarr

LITTLE = {"uint32": "<u4", "uint64": "<u8", "int32": "<i4", "float32": "<f4"}
MEMBERS = """digest events format fragment_samples fragments layout max_index max_value n_bins nnz plan
    provenance samples self shard_values skipped source transform zarr"""


# RFC 8785, as far as it is needed here: whole floats are written as integers
def canonical(value: Any) -> bytes:
    plain = json.loads(
        json.dumps(value), parse_float=lambda n: int(float(n)) if float(n) % 1 == 0 else float(n)
    )
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def document(path: Path) -> Any:
    text = path.read_bytes()
    (member,) = re.finditer(rb',"self":"([0-9a-f]{64})"', text)
    if sha256(text[: member.start()] + text[member.end() :]).hexdigest() != member[1].decode():
        raise ValueError(f"{path} does not match its own hash")
    return json.loads(text)


class Reader:
    def __init__(self, store: Path, name: str) -> None:
        ref, split = name.split(":")
        pin = document(max((store / "refs" / ref).glob("*.json")))["splits"][split]
        folder = store / "features" / pin["transform_key"] / pin["source_key"]
        self.manifest = document(folder / "manifest.json")
        for part in ("transform", "source"):
            if sha256(canonical({"format": 1} | self.manifest[part])).hexdigest() != pin[f"{part}_key"]:
                raise ValueError(f"the {part} has another key")
        if self.manifest["digest"] != pin["digest"] or sorted(self.manifest) != MEMBERS.split():
            raise ValueError("the ref pins another digest, or the manifest has other members")
        self.layout = self.manifest["layout"]
        self.data: Any = zarr.open_group(folder / f"builds/{self.manifest['plan'][:12]}/data.zarr", mode="r")
        columns = {"start", *(name for name, _ in self.layout["columns"])} - {"index", "value"}
        self.rows: dict[str, Any] = {name: np.asarray(self.data[name]) for name in columns}

    def values(self, column: str, row: int) -> Any:
        first = int(self.rows["start"][row])
        return self.data[column][first : first + int(self.rows["nnz"][row])]

    def samples(self) -> Iterator[Any]:
        for row, bins in enumerate(self.rows["n_bins"]):
            frames = np.zeros((bins, *self.layout["sites"]), self.data["value"].dtype)
            frames[np.unravel_index(self.values("index", row), frames.shape)] = self.values("value", row)
            yield frames

    def digest(self) -> str:
        count, skipped = self.manifest["samples"], [one["row"] for one in self.manifest["skipped"]]
        head = canonical(self.layout | {"format": 1, "samples": count, "skipped": skipped})
        hashes = sha256(head).digest()
        for block in range(0, count, 64):
            rows, data = range(block, min(block + 64, count)), b""
            for name, dtype in self.layout["columns"]:
                split = name in {"index", "value"}
                parts = [self.values(name, row) for row in rows] if split else [self.rows[name][rows]]
                data += np.concatenate(parts).astype(LITTLE[dtype]).tobytes()
            hashes += sha256(data).digest()
        return sha256(hashes).hexdigest()
