"""Checkpoints."""

from __future__ import annotations

import resource
import shutil
from dataclasses import replace
from pathlib import Path, PosixPath
from typing import Any

import numpy as np
import pytest
import torch
from tests.train.runs.test_loop import config, silent

from spikestore.store import FeatureSet, Store
from spikestore.store_schemas.errors import (
    DamagedError,
    NewerFormatError,
    SourceNotFoundError,
    StorageFullError,
    StoreError,
    UsageError,
)
from spikestore.train.runs.checkpoint.checkpoint import (
    Checkpoint,
    Position,
    load_checkpoint,
    random_states,
    refuse_other_data,
    save_checkpoint,
)
from spikestore.train.runs.checkpoint.digest import content_digest
from spikestore.train.runs.config import TrainConfig
from spikestore.train.runs.run import run


def checkpoint(features: FeatureSet) -> Checkpoint:
    """Return a small checkpoint."""
    return Checkpoint(
        config=TrainConfig.from_mapping({"data": {"name": "small", "batch_size": 16}}, origin="test"),
        data={"train": features.pin, "valid": features.pin},
        shape={"sites": 10, "classes": 2},
        position=Position(2, 3, 0.5, 48, 0.75, {"iaf1": (3.0, 100.0)}),
        weights={"linear1.weight": torch.arange(6.0).view(2, 3)},
        optimiser={"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 0.1, "params": [0]}]},
        random=random_states(),
    )


def test_comes_back_as_it_was(features: FeatureSet, tmp_path: Path) -> None:
    """The loaded checkpoint equals the saved one, field for field, and no temporary file stays."""
    saved = checkpoint(features)
    save_checkpoint(tmp_path / "last.pt", saved)
    loaded = load_checkpoint(tmp_path / "last.pt")
    for field in ("config", "data", "shape", "position"):
        assert getattr(loaded, field) == getattr(saved, field)
    assert torch.equal(loaded.weights["linear1.weight"], saved.weights["linear1.weight"])
    assert loaded.optimiser == saved.optimiser
    assert torch.equal(loaded.random["cpu"], saved.random["cpu"])
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"]


def test_a_failed_save_keeps_the_old_one(features: FeatureSet, tmp_path: Path) -> None:
    """Without free space, the error names the file, the former checkpoint is intact, and no other file is left."""
    path = tmp_path / "last.pt"
    save_checkpoint(path, checkpoint(features))
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, hard))
    try:
        with pytest.raises(
            StorageFullError, match=r"cannot write .*last\.pt \(File too large\): make space on the disk"
        ):
            save_checkpoint(path, checkpoint(features))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_unwritable_files_are_named(features: FeatureSet, tmp_path: Path) -> None:
    """A folder in its place, or a missing folder, is reported with the path of the checkpoint, not the temporary one."""
    (tmp_path / "last.pt").mkdir()
    with pytest.raises(StoreError, match=r"cannot write .*/last\.pt \(Is a directory\)"):
        save_checkpoint(tmp_path / "last.pt", checkpoint(features))
    assert [one.name for one in tmp_path.iterdir()] == ["last.pt"]
    with pytest.raises(StoreError, match=r"cannot write .*/gone/last\.pt \(No such file"):
        save_checkpoint(tmp_path / "gone/last.pt", checkpoint(features))


def contents(loaded: Checkpoint) -> str:
    """Return a digest of all that a checkpoint holds."""
    return content_digest(
        {
            **vars(loaded),
            "config": str(loaded.config),
            "data": str(loaded.data),
            "position": str(loaded.position),
        }
    )


@pytest.mark.slow
def test_no_flipped_bit_goes_unnoticed(features: FeatureSet, tmp_path: Path) -> None:
    """After any single flipped bit, a checkpoint is rejected by name, or has exactly the saved content.

    Equal numbers of bits are drawn from the whole file, and from the members, headers and directory of the zip: otherwise nearly
    all would be in tensors.
    """
    path = tmp_path / "last.pt"
    save_checkpoint(path, checkpoint(features))
    whole = path.read_bytes()
    truth = contents(load_checkpoint(path))
    rng = np.random.default_rng(1)
    directory = whole.index(b"PK\x01\x02")
    values = whole.index(b"spikestore_checkpoint")
    ranges = [(0, len(whole), 300), (directory, len(whole), 300), (values - 100, values + 3000, 300)]
    messages = []
    for first, behind, count in ranges:
        for bit in rng.choice(np.arange(first * 8, behind * 8), count, replace=False):
            flipped = bytearray(whole)
            flipped[bit // 8] ^= 1 << (bit % 8)
            path.write_bytes(flipped)
            try:
                loaded = load_checkpoint(path)
            except DamagedError as error:
                messages.append(error.message)
            else:
                assert contents(loaded) == truth, bit
    assert all(str(path) in one and "\n" not in one for one in messages)
    assert len(messages) > 500


def test_digest_tells_contents_apart() -> None:
    """Numbers, types, shapes, names, nesting and order all count; the device and memory layout of tensors do not."""
    square = torch.arange(4.0).view(2, 2)
    different: list[dict[str, Any]] = [
        {"a": square}, {"a": square.T}, {"a": square.view(4)}, {"a": square.double()}, {"b": square},
        {"a": square.clone().requires_grad_()}, {"a": 1}, {"a": 1.0}, {"a": True}, {"a": "1"}, {"a": None},
        {"a": [1, 2]}, {"a": (1, 2)}, {"a": [[1], 2]}, {"a": [1, [2]]}, {"a": 1, "b": 2}, {"b": 2, "a": 1},
        {"a": torch.tensor(1.0)}, {"a": torch.ones(1)}, {"a": torch.ones(0, 3)}, {"a": {"b": 1}, "c": 1},
        {"a": {"b": 1, "c": 1}}, {"a": {1: 1}}, {"a": {"1": 1}},
    ]  # fmt: skip
    assert len({content_digest(one) for one in different}) == len(different)
    assert content_digest({"a": square.T}) == content_digest({"a": square.T.contiguous()})
    assert content_digest({"a": square.bfloat16()}) != content_digest({"a": square.half()})
    with pytest.raises(TypeError, match="can't hold PosixPath"):
        content_digest({"a": PosixPath()})


def test_checkpoints_without_a_digest(features: FeatureSet, tmp_path: Path) -> None:
    """Such checkpoints load."""
    path = tmp_path / "last.pt"
    save_checkpoint(path, checkpoint(features))
    truth = contents(load_checkpoint(path))
    content = torch.load(path)
    del content["sha256"]
    torch.save(content, path)
    assert contents(load_checkpoint(path)) == truth


def test_bad_files_are_named(features: FeatureSet, tmp_path: Path) -> None:
    """A missing, foreign, truncated or newer file is an error that names it; nothing is unpickled."""
    path = tmp_path / "last.pt"
    with pytest.raises(SourceNotFoundError, match=r"last\.pt"):
        load_checkpoint(path)
    save_checkpoint(path, checkpoint(features))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(
        DamagedError,
        match=r"last\.pt is not a checkpoint of spikestore, or it is damaged: use the other checkpoint",
    ):
        load_checkpoint(path)
    torch.save({"weights": {}}, path)
    with pytest.raises(DamagedError, match="not a checkpoint of spikestore"):
        load_checkpoint(path)
    torch.save({"spikestore_checkpoint": 2}, path)
    with pytest.raises(NewerFormatError, match="newer"):
        load_checkpoint(path)
    torch.save({"spikestore_checkpoint": 1, "config": {}}, path)
    with pytest.raises(DamagedError, match="data"):
        load_checkpoint(path)
    torch.save(Path("anything"), path)  # an object of a class: rejected, not created
    with pytest.raises(DamagedError):
        load_checkpoint(path)


def test_other_data_are_refused(features: FeatureSet, store_folder: Path) -> None:
    """A feature set with another digest than the run's is rejected, with both digests and the remedy."""
    saved = checkpoint(features)
    refuse_other_data(saved, "train", features, path=Path("last.pt"))
    other = Store(store_folder)["small:valid"]
    with pytest.raises(UsageError, match=f"{features.digest[:12]}.*{other.digest[:12]}.*--other-data"):
        refuse_other_data(saved, "train", other, path=Path("last.pt"))
    refuse_other_data(saved, "test", other, path=Path("last.pt"))
    moved = features.pin.model_copy(update={"transform_key": "ab" * 32})
    stale = replace(saved, data={**saved.data, "train": moved})
    with pytest.raises(UsageError, match=f"{'ab' * 6}.*test.*{other.pin.transform_key[:12]}.*--other-data"):
        refuse_other_data(stale, "test", other, path=Path("last.pt"))


@pytest.mark.slow
def test_a_run_resumes_from_its_best_checkpoint(store_folder: Path, tmp_path: Path) -> None:
    """If last.pt is damaged, the message says how, and this works."""
    folder = tmp_path / "run"

    def go(epochs: int) -> list[int]:
        done = run(config(epochs=epochs), Store(store_folder), folder, device="cpu", progress=silent)
        return [one.epoch for one in done.epochs]

    assert go(1) == [1]
    (folder / "last.pt").write_bytes(b"")
    with pytest.raises(DamagedError, match=r"to resume from best\.pt, copy it to last\.pt"):
        go(2)
    shutil.copy(folder / "best.pt", folder / "last.pt")
    assert go(2) == [2]
