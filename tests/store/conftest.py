"""Fixtures: a store to copy from, a store to copy to, and a store to forge."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.faults.forger import Forgery
from tests.store.copies import filled
from tests.store.small_sets import memory_storage

from spikestore.store import Store
from spikestore.store.storage import FolderStorage, Storage


@pytest.fixture(scope="session")
def filled_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a store with ``demo:train`` and ``demo:valid``, not to be changed."""
    folder = tmp_path_factory.mktemp("built") / "store"
    filled(Store(folder))
    return folder


@pytest.fixture
def source(filled_store: Path, tmp_path: Path) -> Store:
    """Return a folder store with ``demo:train`` and ``demo:valid``."""
    shutil.copytree(filled_store, tmp_path / "source")
    return Store(tmp_path / "source")


@pytest.fixture(scope="session")
def honest_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store with ``small:train``, not to be changed."""
    folder = tmp_path_factory.mktemp("honest") / "store"
    Forgery.build(folder)
    return folder


@pytest.fixture
def forged(honest_store: Path, tmp_path: Path) -> Forgery:
    """Return a copy of the store, to be forged."""
    shutil.copytree(honest_store, tmp_path / "store")
    return Forgery(tmp_path / "store")


@pytest.fixture(params=["folder", "bucket"])
def destination(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """Return an empty storage."""
    return FolderStorage(tmp_path / "destination") if request.param == "folder" else memory_storage()
