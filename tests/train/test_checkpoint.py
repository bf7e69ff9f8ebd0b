"""Checkpoints."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from spikestore.store_schemas import FeatureSet, Store
from spikestore.store_schemas.errors import DamagedError, NewerFormatError, SourceNotFoundError, UsageError
from spikestore.train.checkpoint import (
    Checkpoint,
    Position,
    load_checkpoint,
    random_states,
    refuse_other_data,
    save_checkpoint,
)
from spikestore.train.config import TrainConfig


def checkpoint(features: FeatureSet) -> Checkpoint:
    """Return a small one."""
    return Checkpoint(
        config=TrainConfig.from_mapping({"data": {"name": "small"}}, origin="test"),
        data={"train": features.pin},
        shape={"sites": 10, "classes": 2},
        position=Position(2, 3, 0.5, 48, 0.75, {"iaf1": (3.0, 100.0)}),
        weights={"linear1.weight": torch.arange(6.0).view(2, 3)},
        optimiser={"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 0.1, "params": [0]}]},
        random=random_states(),
    )


def test_comes_back_as_it_was(features: FeatureSet, tmp_path: Path) -> None:
    """What was saved is loaded, field for field, and no temporary file stays."""
    saved = checkpoint(features)
    save_checkpoint(tmp_path / "last.pt", saved)
    loaded = load_checkpoint(tmp_path / "last.pt")
    for field in ("config", "data", "shape", "position"):
        assert getattr(loaded, field) == getattr(saved, field)
    assert torch.equal(loaded.weights["linear1.weight"], saved.weights["linear1.weight"])
    assert loaded.optimiser == saved.optimiser
    assert torch.equal(loaded.random["cpu"], saved.random["cpu"])
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"]


def test_a_failed_save_keeps_the_old_one(
    features: FeatureSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If writing fails half-way, the checkpoint that was there is whole, and nothing else is left."""
    path = tmp_path / "last.pt"
    save_checkpoint(path, checkpoint(features))
    before = path.read_bytes()

    def half(content: object, file: object) -> None:
        file.write(b"half")  # type: ignore[attr-defined]
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(path, checkpoint(features))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_bad_files_are_named(features: FeatureSet, tmp_path: Path) -> None:
    """A missing, foreign, truncated or newer file is an error that names it; nothing is unpickled."""
    path = tmp_path / "last.pt"
    with pytest.raises(SourceNotFoundError, match=r"last\.pt"):
        load_checkpoint(path)
    save_checkpoint(path, checkpoint(features))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DamagedError, match=r"last\.pt is no checkpoint of spikestore, or damaged$"):
        load_checkpoint(path)
    torch.save({"weights": {}}, path)
    with pytest.raises(DamagedError, match="no checkpoint of spikestore"):
        load_checkpoint(path)
    torch.save({"spikestore_checkpoint": 2}, path)
    with pytest.raises(NewerFormatError, match="newer"):
        load_checkpoint(path)
    torch.save({"spikestore_checkpoint": 1, "config": {}}, path)
    with pytest.raises(DamagedError, match="data"):
        load_checkpoint(path)
    torch.save(Path("anything"), path)  # an object of a class: refused, not made
    with pytest.raises(DamagedError):
        load_checkpoint(path)


def test_other_data_are_refused(features: FeatureSet, store_folder: Path) -> None:
    """A feature set with another digest than the run's is refused, with both digests and the way out."""
    saved = checkpoint(features)
    refuse_other_data(saved, "train", features, path=Path("last.pt"))
    other = Store(store_folder)["small:valid"]
    with pytest.raises(UsageError, match=f"{features.digest[:12]}.*{other.digest[:12]}.*--other-data"):
        refuse_other_data(saved, "train", other, path=Path("last.pt"))
    refuse_other_data(replace(saved, data={}), "test", other, path=Path("last.pt"))
