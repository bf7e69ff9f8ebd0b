"""Commands on a store that has a set, a partition or a plan of a newer format: they report the format, and change nothing of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.faults.forger import SMALL, Forgery
from tests.store.upkeep.test_ref_damage import run

from spikestore.store import Store, refs
from spikestore.store.partitions import put_partition
from spikestore.store_schemas.documents.partition import Partition
from spikestore.store_schemas.specs.canonical import seal, unseal

NEWER = "has store format 2, but this version of spikestore reads format 1: install "


def renew(root: Path, path: str) -> None:
    """Give a document the format 2 and a member that this version does not know."""
    document = root / path
    document.write_bytes(seal({**unseal(document.read_bytes(), path=path), "format": 2, "slices": {}}))


def add_operation(root: Path, path: str) -> None:
    """Give a manifest an operation that this version does not know."""
    manifest = unseal((root / path).read_bytes(), path=path)
    manifest["transform"]["operations"].append({"op": "to_something", "version": 1})
    (root / path).write_bytes(seal(manifest))


def contents(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def store(forged: Forgery) -> Store:
    """Return a store with the name ``new`` for a set whose manifest has format 2."""
    store = Store(forged.root)
    (features,) = store.feature_sets()
    refs.update(store.storage, "new", {"valid": features.pin})
    renew(Path(forged.root), SMALL.address.manifest)
    return store


@pytest.mark.parametrize(
    "reason",
    [NEWER, "has the operation to_something, which this version of spikestore does not know: install "],
)
@pytest.mark.parametrize(
    "arguments",
    [
        ("ls",),
        ("show", "new"),
        ("verify",),
        ("verify", "--deep", "new"),
        ("repair", "new"),
        ("repair", "new", "--uncommit"),
        ("repair", "new", "--from", "copy"),
        ("push", "new", "--to", "empty"),
        ("pull", "new", "--from", "copy", "--move"),
    ],
)
def test_a_set_of_a_newer_format(
    arguments: tuple[str, ...],
    reason: str,
    honest_store: Path,
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It is not called damaged, no repair is suggested, and no object of it is changed, copied or deleted."""
    monkeypatch.chdir(tmp_path)
    if reason != NEWER:
        shutil.rmtree(store.storage.url)
        shutil.copytree(honest_store, store.storage.url)
        refs.update(store.storage, "new", {"valid": next(iter(store.feature_sets())).pin})
        add_operation(Path(store.storage.url), SMALL.address.manifest)
    shutil.copytree(honest_store, "copy")
    (intact,) = Store("copy").feature_sets()
    refs.update(Store("copy").storage, "new", {"valid": intact.pin})
    root = Path(store.storage.url)
    before = contents(root)
    status, written = run(capsys, *arguments, "--store", root)
    assert (status, reason in written) == (1, True)
    assert "damage" not in written
    assert "spikestore repair" not in written
    assert contents(root) == before
    assert not contents(tmp_path / "empty") if (tmp_path / "empty").exists() else True


def test_gc_keeps_a_set_of_a_newer_format(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    """It stays even without a name, and whatever its age."""
    root = Path(store.storage.url)
    refs.forget(store.storage, "new")
    before = contents(root)
    _, written = run(capsys, "gc", "--unreferenced", "--older-than", "0", "--store", root)
    assert NEWER in written
    assert contents(root) == before


def test_other_splits_are_verified(
    store: Store, honest_store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The table of `ls` says `newer format`; `--json` of verify gives the kind of the finding."""
    root = Path(store.storage.url)
    _, written = run(capsys, "ls", "--store", root)
    assert "newer format" in written
    _, written = run(capsys, "verify", "--json", "--store", root)
    assert '"kind": "newer"' in written
    assert "1 object of a newer format" in written


def test_a_partition_and_a_plan_of_a_newer_format(
    forged: Forgery, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Repair replaces neither of them by those of another store."""
    store = Store(forged.root)
    (features,) = store.feature_sets()
    key = features.address.source_key
    parts: dict[str, tuple[int, ...]] = {"all": (0, len(features))}
    put_partition(store.storage, Partition(source_key=key, name="own", samples=len(features), parts=parts))
    shutil.copytree(forged.root, tmp_path / "copy")
    renew(Path(forged.root), f"partitions/{key}/own.json")
    renew(Path(forged.root), SMALL.address.plan)
    before = contents(Path(forged.root))
    status, written = run(
        capsys, "repair", features.address.short, "--from", tmp_path / "copy", "--store", forged.root
    )
    assert (status, written.count(NEWER)) == (1, 2)
    assert contents(Path(forged.root)) == before
