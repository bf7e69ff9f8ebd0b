"""`preprocess` rejects transforms without a spec, invalid arguments, and files that change during the build."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import tonic
from tests.pipeline.small_builds import built, seeds_transform, ssc, write_recipe, write_ssc
from tonic import transforms

from spikestore.pipeline.building.preprocess import preprocess
from spikestore.pipeline.sources.source_files import make_source
from spikestore.store.store import Store
from spikestore.store_schemas.errors import (
    RecordingError,
    SourceChangedError,
    SpecError,
    UnsupportedTransformError,
    UsageError,
)
from spikestore.store_schemas.specs.operations import ToFrame
from spikestore.store_schemas.specs.transform import Transform


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_ssc(tmp_path / "data")


@pytest.fixture
def recipe(tmp_path: Path, data: Path) -> Path:
    return write_recipe(tmp_path)


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"target_transform": int}, "target_transform"),
        ({"transform": lambda events: events}, "lambda"),
        ({"transform": transforms.Compose([transforms.DropEvent(p=0.1), seeds_transform()])}, "DropEvent"),
        ({"transform": transforms.Compose([transforms.CropTime(min=5), seeds_transform()])}, "CropTime"),
    ],
)
def test_operations_without_a_spec_are_rejected_by_name(
    tmp_path: Path, data: Path, fields: dict[str, Any], word: str
) -> None:
    """The message names the operation, and the store is not touched."""
    with pytest.raises((UnsupportedTransformError, SpecError), match=word):
        built(ssc(data, **fields), tmp_path / "store")
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("move", [False, True])
@pytest.mark.parametrize("name", ["Bad Name", "../x", "x" * 64])
def test_an_invalid_name_is_rejected_before_the_build(
    tmp_path: Path, data: Path, recipe: Path, name: str, move: bool
) -> None:
    """Nothing is computed for a name that cannot be written, neither for a recipe nor for a data set."""
    for source in (recipe, ssc(data, transform=seeds_transform())):
        with pytest.raises(UsageError, match="a name must have 1 to 63 characters"):
            preprocess(source, store=tmp_path / "store", name=name, move=move, workers=0)
    assert not (tmp_path / "store").exists()


def test_a_name_that_a_suffix_makes_too_long_is_rejected_before_the_build(
    tmp_path: Path, recipe: Path
) -> None:
    """In a sweep, the name of each variant is checked with its suffix."""
    recipe.write_text(f'{recipe.read_text()}\n[[sweep]]\nsuffix = "4ms"\n')
    with pytest.raises(UsageError, match="a name must have 1 to 63 characters"):
        preprocess(recipe, store=tmp_path / "store", name="x" * 60, move=True, workers=0)
    assert not (tmp_path / "store").exists()


def test_other_datasets_are_refused_by_name(tmp_path: Path, data: Path) -> None:
    """Unknown data sets, a cache around SSC or SHD, and a list are rejected; none is mistaken for another data set."""
    for dataset in (tonic.MemoryCachedDataset(ssc(data)), [1, 2], object()):
        with pytest.raises(UsageError, match=type(dataset).__name__):
            built(dataset, tmp_path / "store")


def test_arguments_that_make_no_sense(tmp_path: Path, data: Path, recipe: Path) -> None:
    """Two transforms, none, a recipe with one, data for a data set: the message says which argument to leave out."""
    frames = Transform(operations=(ToFrame(sensor_size=(700, 1, 1), time_window=1e4),))
    with pytest.raises(UsageError, match="has a transform already"):
        built(ssc(data), tmp_path / "store", frames)
    with pytest.raises(UsageError, match="no transform: pass"):
        built(ssc(data, transform=None), tmp_path / "store")
    with pytest.raises(UsageError, match="a recipe has its own transform"):
        built(recipe, tmp_path / "store", frames)
    with pytest.raises(UsageError, match="data= is for recipes"):
        preprocess(ssc(data), store=tmp_path / "store", data=data)
    with pytest.raises(UsageError, match="a LocatedSource has no transform"):
        built(make_source("SSC", "test", data), tmp_path / "store")
    assert len(built(make_source("SSC", "test", data), tmp_path / "store", frames)) == 9


def test_too_many_bins_name_the_recording(tmp_path: Path, data: Path) -> None:
    """max_bins is a limit that the message names, with the file and the recording."""
    few = Transform(operations=(ToFrame(sensor_size=(700, 1, 1), time_window=1e4),), max_bins=50)
    with pytest.raises(RecordingError, match=r"ssc_train.h5: recording \d+.*max_bins"):
        built(make_source("SSC", "train", data), tmp_path / "store", few)


@pytest.mark.parametrize("how", ["written to", "replaced", "shortened", "removed"])
def test_a_file_that_changes_in_mid_build_fails_it(tmp_path: Path, data: Path, how: str) -> None:
    """If the file changes in any way after the first fragment, there is no manifest, and the error names the file."""
    path = data / "SSC" / "ssc_train.h5"

    def change(done: int, total: int, label: str) -> None:
        if done != 64:
            return
        content, status = path.read_bytes(), path.stat()
        if how == "written to":
            path.write_bytes(content)
        elif how == "shortened":
            path.write_bytes(content[:-1])
        elif how == "removed":
            path.unlink()
        else:
            other = path.with_name("other")
            other.write_bytes(content)
            os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
            other.replace(path)

    with pytest.raises(SourceChangedError, match=r"ssc_train\.h5"):
        built(ssc(data), tmp_path / "store", fragment_samples=64, progress=change)
    assert list(Store(tmp_path / "store").feature_sets()) == []


def test_a_change_of_a_file_after_the_last_fragment_is_an_error_too(tmp_path: Path, data: Path) -> None:
    """Files are checked again after all fragments are stored, because the file that was read may have been another one."""
    path = data / "SSC" / "ssc_train.h5"

    def touch(done: int, total: int, label: str) -> None:
        if done == total:
            os.utime(path)

    with pytest.raises(SourceChangedError):
        built(ssc(data), tmp_path / "store", progress=touch)
    assert list(Store(tmp_path / "store").feature_sets()) == []
    assert len(built(ssc(data), tmp_path / "store")) == 150
