"""Damaged entries in the logs of names, older ones included, are found and replaced; the name keeps its value."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.faults.forger import SMALL, Forgery
from tests.store.test_refs import pin

from spikestore.store import Store, refs
from spikestore.store.cli.main import main
from spikestore.store_schemas import Ref
from spikestore.store_schemas.errors import StoreError
from spikestore.store_schemas.specs.canonical import seal, unseal


@pytest.fixture
def store(forged: Forgery) -> Store:
    """Return a store whose name ``small`` has three entries, and ``gone`` was removed after two."""
    store = Store(forged.root)
    refs.update(
        store.storage, "small", {"valid": pin(1).model_copy(update={"transform_key": SMALL.transform.key})}
    )
    refs.update(store.storage, "gone", {"train": pin(1)})
    refs.forget(store.storage, "gone")
    refs.forget(store.storage, "small", "valid")
    return store


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    """Run a command; return its exit status and all that it wrote."""
    status = main([str(one) for one in arguments])
    written = capsys.readouterr()
    return status, written.out + written.err


def damage(store: Store, path: str, how: str) -> None:
    place = Path(store.storage.url) / path
    data, other = place.read_bytes(), (place.parent / "00000002.json").read_bytes()
    place.unlink()
    if how == "folder":
        place.mkdir()
    else:
        place.write_bytes({"flipped": data[:-3] + b"?" + data[-2:], "empty": b"", "swapped": other}[how])


@pytest.mark.parametrize(
    ("name", "how"), [("small", "flipped"), ("small", "folder"), ("gone", "swapped"), ("gone", "empty")]
)
def test_an_older_entry(store: Store, name: str, how: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An older damaged entry, also of a removed name, is found and replaced; the name keeps its value."""
    before, path = store.ref(name), f"refs/{name}/00000001.json"
    assert run(capsys, "verify", "--store", store.storage.url)[0] == 0
    damage(store, path, how)
    for which in ([], ["small"] if name == "small" else []):
        status, written = run(capsys, "verify", *which, "--quick", "--store", store.storage.url)
        assert status == 1
        assert path in written
        assert "1 damaged object in" in written
    status, written = run(capsys, "repair", name, "--store", store.storage.url)
    assert (
        status,
        f"{path}: replaced by an entry that lists no sets, because the sets of the damaged entry are unknown"
        in written,
    ) == (0, True), written
    assert run(capsys, "verify", "--store", store.storage.url)[0] == 0
    assert store.ref(name) == before
    assert Ref.from_bytes(store.storage.get(path), path=path).forgotten


def test_entries_that_cannot_be_replaced(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder with content in the place of an entry is left, and named."""
    path = "refs/small/00000001.json"
    damage(store, path, "folder")
    (Path(store.storage.url) / path / "x").touch()
    status, written = run(capsys, "repair", "small", "--store", store.storage.url)
    assert (status, f"{path}: " in written, "1 still damaged" in written) == (1, True, True)


def test_an_entry_of_a_newer_format(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    """It is reported, and never replaced."""
    path = "refs/small/00000001.json"
    place = Path(store.storage.url) / path
    place.write_bytes(seal({**unseal(place.read_bytes(), path=path), "format": 2}))
    newer = place.read_bytes()
    status, written = run(capsys, "verify", "--store", store.storage.url)
    assert (status, "format 2" in written) == (1, True)
    status, written = run(capsys, "repair", "small", "--store", store.storage.url)
    assert (status, "format 2" in written) == (1, True)
    assert place.read_bytes() == newer


def test_a_set_is_repaired_beside_a_damaged_name_but_not_beside_an_unknown_one(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    """Status 2 says that nothing was done; a damaged name is reported after the other sets are repaired."""
    refs.assign(store.storage, "broken", {"train": pin(1)})
    (Path(store.storage.url) / "refs/broken/00000001.json").write_bytes(b"{}")
    root = Path(store.storage.url) / store["small:train"].data_path / "zarr.json"
    root.unlink()
    status, written = run(capsys, "repair", "small", "unknown", "--store", store.storage.url)
    assert (status, "no 'unknown'" in written, root.exists()) == (2, True, False)
    status, written = run(capsys, "repair", "broken", "small", "--store", store.storage.url)
    assert (status, "refs/broken/00000001.json" in written, root.exists()) == (1, True, True)


def test_removing_a_damaged_name_leaves_no_damage(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    """After ``rm`` and ``tag``, as documented, the damaged entry is an older one."""
    damage(store, "refs/small/00000003.json", "flipped")
    with pytest.raises(StoreError):
        store.ref("small")
    assert run(capsys, "verify", "--store", store.storage.url)[0] == 1
    assert run(capsys, "rm", "small", "--store", store.storage.url)[0] == 0
    assert run(capsys, "tag", "/".join(SMALL.address), "small", "--store", store.storage.url)[0] == 0
    status, written = run(capsys, "verify", "--store", store.storage.url)
    assert status == 0, written


def test_something_in_the_place_of_all_names(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    root = Path(store.storage.url)
    (root / "refs").rename(root / "elsewhere")
    (root / "refs").touch()
    status, written = run(capsys, "verify", "--store", root)
    assert (status, "1 damaged object in" in written) == (1, True), written
