"""A training run copies the feature sets that its store lacks."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.train.runs.test_loop import config, silent

from spikestore.store import Store
from spikestore.store.upstreams import Upstreams, locate_upstreams
from spikestore.store_schemas.errors import SpikestoreError, UnknownNameError
from spikestore.train.runs.config import load_config
from spikestore.train.runs.run import run


def test_missing_objects_are_copied(store_folder: Path, tmp_path: Path) -> None:
    """They are copied once; the run can resume when the upstream is gone, or another one is named."""
    shutil.copytree(store_folder, tmp_path / "team")
    here = Store(tmp_path / "here")
    asked = Upstreams([str(tmp_path / "team")])
    one = config(epochs=1, upstreams=["team"])
    run(one, here, tmp_path / "run", device="cpu", upstreams=asked, progress=silent)
    assert here.splits("small").keys() == {"train", "valid"}
    shutil.rmtree(tmp_path / "team")
    more = config(epochs=2, upstreams=["elsewhere"])
    done = run(more, here, tmp_path / "run", device="cpu", upstreams=asked, progress=silent)
    assert [epoch.epoch for epoch in done.epochs] == [2]


def test_nobody_has_it(tmp_path: Path) -> None:
    """If no upstream has the set, the error is the same as without upstreams."""
    with pytest.raises(UnknownNameError, match="no 'small'"):
        run(config(), Store(tmp_path / "here"), tmp_path / "run", upstreams=Upstreams(()), progress=silent)


def test_in_the_configuration(tmp_path: Path) -> None:
    """``upstreams`` is at the top of the configuration; a relative folder is relative to its file."""
    path = tmp_path / "c.toml"
    path.write_text('upstreams = ["store", "s3://a/b"]\n[data]\nname = "small"\n')
    loaded = load_config(path)
    assert locate_upstreams(loaded.upstreams, path) == (str(tmp_path / "store"), "s3://a/b")
    path.write_text('upstreams = "store"\n[data]\nname = "small"\n')
    with pytest.raises(SpikestoreError, match="upstreams"):
        load_config(path)
