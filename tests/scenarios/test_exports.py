"""Exports are read with h5py, zarr, numpy and tarfile alone, and are the samples of `FeatureDataset`, one by one."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pytest
import scipy.sparse
import zarr
from tests.store.small_sets import small_set

from spikestore.pipeline import export
from spikestore.store import FeatureSet, Store
from spikestore.store.cli.main import main
from spikestore.store.storage import FolderStorage
from spikestore.store_schemas import ToFrame, Transform, layout_of
from spikestore.train import FeatureDataset

CLASSES = ("yes", "no/never", "?")
"""No sample is of the last class."""


@dataclass(frozen=True)
class Sample:
    """A sample as an export has it."""

    frames: npt.NDArray[Any]
    label: int
    row: int
    n_events: int


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> FeatureSet:
    """Return a set with y, three fragments, skipped and empty rows, and a class without samples."""
    small = small_set()
    transform = Transform(operations=(ToFrame(sensor_size=(5, 1, 2), time_window=4000),))
    layout = layout_of(transform, has_y=True, classes=CLASSES, extras=("n_events",))
    small = replace(small, transform=transform, layout=layout)
    store = Store(FolderStorage(tmp_path_factory.mktemp("store")))
    built = small.build(store.storage)
    store.point("small", {"train": built})
    return built


def of_arrays(read: Callable[[str], Any], facts: dict[str, Any]) -> list[Sample]:
    """Return the samples of a CSR matrix; `read` returns an array."""
    names = ("index", "value", "offsets", "n_bins", "label", "row", "n_events")
    index, value, offsets, n_bins, label, row, n_events = (np.asarray(read(name)) for name in names)
    sites = tuple(facts["sites"])
    columns = max(n_bins) * np.prod(sites)
    matrix = scipy.sparse.csr_matrix((value, index, offsets), shape=(len(label), columns))
    return [
        Sample(
            matrix[i].toarray().reshape(-1, *sites)[: n_bins[i]], int(label[i]), int(row[i]), int(n_events[i])
        )
        for i in range(len(label))
    ]


def of_zarr(folder: Path) -> list[Sample]:
    group = zarr.open_group(folder / "train.zarr", mode="r")
    assert group.attrs["classes"] == [*CLASSES]
    return of_arrays(lambda name: group[name], dict(group.attrs))


def of_hdf5(folder: Path) -> list[Sample]:
    with h5py.File(folder / "train.h5") as file:
        assert file["classes"].asstr()[:].tolist() == [*CLASSES]
        return of_arrays(lambda name: file[name], {"sites": json.loads(file.attrs["sites"])})


def of_npz(content: Any) -> Sample:
    with np.load(content) as arrays:
        numbers = (int(arrays[name]) for name in ("label", "row", "n_events"))
        return Sample(arrays["frames"], *numbers)


def of_class_folders(folder: Path) -> list[Sample]:
    """Return the samples as torchvision's DatasetFolder numbers their classes: by the sorted folders."""
    samples: list[Sample] = []
    for number, path in enumerate(sorted((folder / "train").iterdir())):
        samples += [replace(of_npz(file), label=number) for file in path.iterdir()]
    return sorted(samples, key=lambda sample: sample.row)


def of_webdataset(folder: Path) -> list[Sample]:
    """Return the samples as WebDataset groups them: entries in a row with the same name before the first dot."""
    samples: list[tuple[str, Sample]] = []
    for path in sorted(folder.glob("train-*.tar")):
        with tarfile.open(path) as shard:
            files = {entry.name: shard.extractfile(entry) for entry in shard}
            entries = {name: file.read() for name, file in files.items() if file is not None}
        for name, content in entries.items():
            key, _, kind = name.partition(".")
            if kind == "npz":
                samples.append((key, of_npz(io.BytesIO(content))))
            else:
                assert (kind, samples[-1][0]) == ("cls", key)
                samples[-1] = key, replace(samples[-1][1], label=int(content))
    return sorted((sample for _, sample in samples), key=lambda sample: sample.row)


READ = {"zarr": of_zarr, "hdf5": of_hdf5, "npz": of_class_folders, "webdataset": of_webdataset}


@pytest.mark.parametrize("form", READ)
def test_an_export_has_the_samples_of_the_set(tmp_path: Path, features: FeatureSet, form: Any) -> None:
    expected = FeatureDataset(features)
    done = export(features, tmp_path / "out", form)
    assert done.samples == {"train": len(expected)}
    samples = READ[form](tmp_path / "out")
    assert [sample.row for sample in samples] == expected.rows.tolist()
    assert [sample.n_events for sample in samples] == expected.column("n_events").tolist()
    for position, sample in enumerate(samples):
        frames, label = expected[position]
        np.testing.assert_array_equal(sample.frames, frames)
        assert sample.frames.dtype == np.uint8
        assert sample.label == label
    facts = json.loads((tmp_path / "out/description.json").read_text())["splits"]["train"]
    assert facts["digest"] == features.digest
    assert (facts["skipped_rows"], facts["samples"]) == ([3, 130], 168)
    text = (tmp_path / "out/README.txt").read_text()
    assert all(
        words in text
        for words in ("CC BY 4.0", "Cramer", features.digest, features.address.source_key, "4000")
    )
    assert {path.name for path in tmp_path.iterdir()} == {"out"}


def test_the_command(tmp_path: Path, features: FeatureSet, capsys: pytest.CaptureFixture[str]) -> None:
    store = features.storage.url
    command = ["export", "small", "--to", str(tmp_path / "out"), "--form", "npz", "--store", store]
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["samples"] == {"train": 168}
    assert len(of_class_folders(tmp_path / "out")) == 168
    assert main(command) == 2
    assert "is not empty: pass a new folder with --to" in capsys.readouterr().err
    assert main(["export", "smal", "--to", str(tmp_path / "b"), "--form", "npz", "--store", store]) == 2
    assert "did you mean 'small'" in capsys.readouterr().err
