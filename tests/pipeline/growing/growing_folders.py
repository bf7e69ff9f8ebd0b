"""Folders of recordings that change between two builds, and the files that are opened to read events."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.pipeline.event_files import pack
from tests.pipeline.folders import draw, recipe_for, save

from spikestore.pipeline import BuildOptions, preprocess
from spikestore.pipeline.readers.event_files.file_per_recording import FileReader
from spikestore.store.upkeep.verify import verify


def add(root: Path, **seeds: int) -> None:
    """Write recordings; ``left_1=5`` is ``left/1.npy`` with the events of seed 5."""
    for name, seed in seeds.items():
        save(root / f"{name.replace('_', '/')}.npy", draw(seed))


def damage(path: Path) -> None:
    """Change one bit of a file."""
    data = path.read_bytes()
    path.chmod(0o600)
    path.write_bytes(data[:9] + bytes([data[9] ^ 1]) + data[10:])


def write_mnist_bin(path: Path, seed: int) -> None:
    """Write a recording in the format of N-MNIST."""
    path.parent.mkdir(parents=True, exist_ok=True)
    events = draw(seed)
    path.write_bytes(
        pack(np.stack([events[field].astype(np.int64) for field in ("x", "y", "p", "t")], axis=1))
    )


def grown(root: Path, store: Path, *, workers: int = 0, **options: Any) -> dict[str, Any]:
    """Build the sets of a folder with the name ``mine``."""
    fields = options.pop("folder", {})
    source = options.pop("source", {})
    move = options.pop("move", True)
    return preprocess(
        recipe_for(root, source, **fields),
        store=store,
        workers=workers,
        move=move,
        options=BuildOptions(**options),
    )


def is_as_fresh(root: Path, features: Any, fresh_store: Path, split: str = "all", **options: Any) -> bool:
    """Return whether a set is intact and equals one that is built from the recordings alone, also in its counts."""
    fresh = grown(root, fresh_store, reuse=False, **options)[split]
    assert features.address == fresh.address
    assert features.digest == fresh.digest
    assert verify(features, depth="deep") == []
    for field in ("nnz", "n_bins", "max_index", "max_value", "events", "skipped", "samples"):
        assert getattr(features.manifest, field) == getattr(fresh.manifest, field), field
    return True


@contextmanager
def opened(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Collect the names of the files whose events are read."""
    names: list[str] = []
    content = FileReader._content

    def counted(self: FileReader, file: Any) -> bytes:
        names.append(file.name)
        return content(self, file)

    with monkeypatch.context() as patch:
        patch.setattr(FileReader, "_content", counted)
        yield names
