"""A damaged partition is found, listed and repaired, and has no effect on anything else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.faults.forger import SMALL, Forgery

from spikestore.store import Store
from spikestore.store.cli.main import main
from spikestore.store.partitions import all_partitions, load_partition, store_partition
from spikestore.store.trust.documents import partition_path
from spikestore.store_schemas.documents.partition import Partition
from spikestore.store_schemas.errors import DamagedError, SpecError, UnknownNameError
from spikestore.store_schemas.specs.canonical import seal, unseal

KEY = SMALL.source.key


@pytest.fixture
def place(forged: Forgery) -> Path:
    """Return the file of a partition of ``small:train``; the store has a second partition."""
    storage = Store(forged.root).storage
    for name in ("other", "part"):
        store_partition(storage, KEY, name, 140, {"train": np.arange(100), "valid": np.arange(110, 140)})
    return forged.root / partition_path(KEY, "part")


def flip(place: Path) -> None:
    """Flip a bit."""
    data = bytearray(place.read_bytes())
    data[100] ^= 1
    place.write_bytes(data)


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    """Run a command; return its exit status and all that it wrote."""
    status = main([str(one) for one in arguments])
    written = capsys.readouterr()
    return status, written.out + written.err


@pytest.mark.parametrize("names", [[], ["small"]], ids=["all", "by name"])
def test_verify(forged: Forgery, place: Path, names: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "verify", *names, "--store", forged.root)[0] == 0
    flip(place)
    for depth in ([], ["--quick"], ["--deep"]):
        status, written = run(capsys, "verify", *names, *depth, "--store", forged.root)
        assert status == 1
        assert f"partitions/{KEY}/part.json" in written
        assert "1 damaged object in" in written
        assert f"run spikestore repair NAME|KEY --store {forged.root}, with --from" in written


def test_verify_compares_it_with_its_source(
    forged: Forgery, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = unseal(place.read_bytes(), path="part.json")
    place.write_bytes(seal({**document, "samples": 2**50}))
    status, written = run(capsys, "verify", "--store", forged.root)
    assert (status, f"it is a partition of {2**50:,} rows, but the source has 140" in written) == (1, True)


def test_verify_without_sets(forged: Forgery, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A store that has a partition, but no sets, is verified, and is not called empty."""
    for folder in ("features", "refs"):
        shutil.rmtree(forged.root / folder)
    expected = f"the store {forged.root} has no feature sets; no damage"
    assert run(capsys, "verify", "--store", forged.root) == (0, f"{expected}\n")
    flip(place)
    status, said = run(capsys, "verify", "--store", forged.root)
    assert (status, place.name in said) == (1, True)


def test_ls(forged: Forgery, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, written = run(capsys, "ls", "--store", forged.root)
    assert status == 0
    assert f"part       {KEY[:12]}  train 100, valid 30" in written
    flip(place)
    status, written = run(capsys, "ls", "--store", forged.root)
    assert status == 1
    assert "small:train" in written
    assert "part: partitions/" in written
    status, written = run(capsys, "ls", "--json", "--store", forged.root)
    listed = {one["name"]: bool(one["damaged"]) for one in json.loads(written)["partitions"]}
    assert (status, listed) == (1, {"other": False, "part": True})


def test_push(forged: Forgery, place: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Everything else is copied, and a warning names the damaged partition."""
    flip(place)
    other = Store(tmp_path / "other")
    Store(forged.root).push("small", other)
    assert other.names() == ["small"]
    assert [name for _, name, _ in all_partitions(other.storage)] == ["other"]
    assert f"partition 'part' was not copied: partitions/{KEY}/part.json is damaged" in caplog.text


def test_repair(forged: Forgery, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is restored from a store that has it, to the same bytes; without such a store a line says what to do."""
    whole = place.read_bytes()
    Store(forged.root).push("small", tmp_path / "other")
    flip(place)
    status, written = run(capsys, "repair", "small", "--store", forged.root)
    assert status == 1
    assert (
        "pass a store that has this partition (--from URL), or delete this object and call keep_partition again"
        in written
    )
    status, written = run(capsys, "repair", "small", "--from", tmp_path / "other", "--store", forged.root)
    assert (status, place.read_bytes() == whole) == (0, True)
    assert f"partitions/{KEY}/part.json: from the upstream" in written
    flip(place)
    (tmp_path / "other" / partition_path(KEY, "part")).unlink()
    status, written = run(capsys, "repair", "small", "--from", tmp_path / "other", "--store", forged.root)
    assert status == 1
    assert "does not have this partition" in written


def test_a_folder_in_its_place(
    forged: Forgery, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder that is not empty cannot be replaced; the other partition is repaired, and a line says what to do."""
    store_partition(Store(forged.root).storage, KEY, "second", 140, {"train": np.arange(100)})
    Store(forged.root).push("small", tmp_path / "other")
    second = place.with_name("second.json")
    whole = second.read_bytes()
    flip(second)
    place.unlink()
    place.mkdir()
    (place / "file").touch()
    status, written = run(capsys, "repair", "small", "--from", tmp_path / "other", "--store", forged.root)
    assert status == 1
    assert f"partitions/{KEY}/second.json: from the upstream" in written
    assert second.read_bytes() == whole
    assert "it is a folder that is not empty instead of a file" in written


def test_odd_names_hide_no_others(forged: Forgery, place: Path) -> None:
    """Files that can't be partitions by their names are ignored."""
    for name in ("part", "Part.json", "a b.json", ".part.json"):
        (place.parent / name).write_bytes(b"?")
    storage = Store(forged.root).storage
    assert [name for _, name, _ in all_partitions(storage)] == ["other", "part"]
    with pytest.raises(UnknownNameError, match=r"partitions of this source: other, part$"):
        load_partition(storage, KEY, "third")


def test_a_partition_asks_for_no_memory() -> None:
    """Rows are compared as runs, so memory does not grow with the number of rows."""
    made = Partition(name="a", source_key=KEY, samples=2**50, parts={"x": (0, 2**40), "y": (2**40, 2**50)})
    assert (made.count("x"), made.count("y")) == (2**40, 2**50 - 2**40)
    with pytest.raises(SpecError, match=f"row {2**40 - 1} belongs to two parts"):
        Partition(name="a", source_key=KEY, samples=2**50, parts={"x": (0, 2**40), "y": (2**40 - 1, 2**50)})
    assert Partition(name="a", source_key=KEY, samples=9, parts={"x": (), "y": ()}).count("x") == 0


def test_partition_of_another_source(forged: Forgery, place: Path) -> None:
    document = unseal(place.read_bytes(), path="part.json")
    place.write_bytes(seal({**document, "source_key": "0" * 64}))
    with pytest.raises(DamagedError, match="it contains the partition 'part' of the source 000000000000"):
        load_partition(Store(forged.root).storage, KEY, "part")
