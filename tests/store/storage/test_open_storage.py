"""`open_storage`: which folder or bucket a text or URL means, and which texts are rejected."""

from __future__ import annotations

from pathlib import Path

import pytest

from spikestore.store.storage import FolderStorage, is_same_store, open_storage
from spikestore.store.storage.objects import ObjectStorage
from spikestore.store_schemas.errors import UsageError


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("plain/folder", "plain/folder"),
        ("file:///tmp/a%20b", "/tmp/a b"),  # noqa: S108
        ("file://localhost/tmp/a%23b", "/tmp/a#b"),  # noqa: S108
        (Path("x"), "x"),
    ],
    ids=["text", "file-url", "localhost", "path"],
)
def test_open_a_folder(location: str | Path, expected: str) -> None:
    """Text without a scheme, a file URL and a Path are folders."""
    storage = open_storage(location)
    assert isinstance(storage, FolderStorage)
    assert storage.root == Path(expected).absolute()


@pytest.mark.parametrize(
    "location", ["file://store", "file://./store", "file://", "file:///a#b", "file:///a?b"]
)
def test_a_file_url_without_an_absolute_path(location: str) -> None:
    """A relative path after file:// is rejected: its first part would be a host, and the store would be in another folder."""
    with pytest.raises(
        UsageError, match=r": a file URL must have an absolute path, .*to pass a relative path, omit file://"
    ):
        open_storage(location)


@pytest.mark.parametrize("location", ["s3:/team/features", "S3:team", "gs:/team", "file:/shared/features"])
def test_a_url_with_too_few_slashes(location: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is rejected: a folder with the name ``s3:`` would be filled, and nobody else would find the sets. ``./s3:`` is a folder."""
    with pytest.raises(UsageError, match=rf"two slashes after the colon, .* pass \./{location}$"):
        open_storage(location)
    monkeypatch.chdir(tmp_path)
    storage = open_storage(f"./{location}")
    assert isinstance(storage, FolderStorage)
    assert storage.root == tmp_path / location


def test_a_url_without_a_bucket() -> None:
    """The error shows a URL with a bucket."""
    with pytest.raises(UsageError, match=r"s3:// has no bucket: pass a URL such as s3://team/features"):
        open_storage("s3://")


def test_open_a_bucket() -> None:
    """An s3 URL is a bucket; opening it sends no request."""
    storage = open_storage("s3://bucket/some/prefix")
    assert isinstance(storage, ObjectStorage)
    assert storage.url == "s3://bucket/some/prefix"


@pytest.mark.parametrize(
    "location",
    [
        "s3://team/features/",
        "S3://team/features",
        "s3a://team/features",
        "s3://team/./features",
        "s3://team/other/../features/.",
        "s3://team/%2E/features",
    ],
)
def test_all_spellings_of_a_prefix_are_one_store(location: str) -> None:
    """A copy of a store into itself is rejected, however its URL is written."""
    assert open_storage(location).url == "s3://team/features"
    assert is_same_store(open_storage(location), open_storage("s3://team/features"))
    assert not is_same_store(open_storage(location), open_storage("s3://team/feature"))


def test_a_link_to_a_folder_is_the_same_store(tmp_path: Path) -> None:
    """A store is the folder to which a link leads."""
    (tmp_path / "link").symlink_to(tmp_path / "store")
    assert is_same_store(open_storage(tmp_path / "link"), open_storage(tmp_path / "store"))
    assert not is_same_store(open_storage(tmp_path / "other"), open_storage(tmp_path / "store"))


def test_open_anything_else() -> None:
    """An unknown scheme is rejected with the known ones."""
    with pytest.raises(
        UsageError, match=r"ftp://x/y: a store must be a folder, file://…, s3://…, gs://… or az://…"
    ):
        open_storage("ftp://x/y")
