"""Sets that are derived from a finer set equal those that are built from the recordings, and no recording is opened."""

from __future__ import annotations

import json
import logging
import pickle
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.faults.forger import Forgery
from tests.pipeline.cochlea_files import draw, write_file
from tests.pipeline.growing.growing_folders import damage

from spikestore.pipeline import BuildOptions, preprocess
from spikestore.pipeline.building.estimate import estimate
from spikestore.pipeline.building.reuse import Reuse
from spikestore.pipeline.deriving.finer_sets import find_finer_rows
from spikestore.pipeline.recipes.requested_sets import RequestedSet
from spikestore.pipeline.sources import source_files
from spikestore.pipeline.sources.source_files import LocatedSource, make_source
from spikestore.store import Store
from spikestore.store.cli.main import main
from spikestore.store.upkeep.verify import verify
from spikestore.store.upstreams import Upstreams
from spikestore.store_schemas.documents.address import Address
from spikestore.store_schemas.errors import SourceNotFoundError, UsageError
from spikestore.store_schemas.specs.operations import ClipCounts, CropTime, Downsample, ToFrame
from spikestore.store_schemas.specs.transform import Transform

pytestmark = pytest.mark.usefixtures("few_events")

ON_THE_EDGE = (np.array([0.0, 0.125], np.float16), np.array([3, 5], np.uint16))
"""The last event is at 125 ms: on the last edge of bins of 1 ms, and inside a bin of 4 ms."""


def transform(channels: int, milliseconds: float, **fields: Any) -> Transform:
    clips = [ClipCounts(max=fields.pop("clip"))] if "clip" in fields else []
    frame = {"include_incomplete": True, "time_window": milliseconds * 1000, **fields}
    shrink = [Downsample(spatial_factor=(channels / 700, channels / 700))] if channels < 700 else []
    crop = CropTime(max=1e6)
    return Transform(operations=(*shrink, crop, ToFrame(sensor_size=(channels, 1, 1), **frame), *clips))


FINE = transform(700, 1)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> LocatedSource:
    """Return a source with 140 recordings, of which one has an event on the last edge."""
    folder = tmp_path_factory.mktemp("data")
    write_file(folder / "ssc_train.h5", [*draw(139), ON_THE_EDGE])
    return make_source("SSC", "train", folder)


@pytest.fixture(scope="module")
def fine(source: LocatedSource, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store with the fine set."""
    store = tmp_path_factory.mktemp("fine")
    build(source, FINE, store, name="fine")
    return store


def build(
    source: LocatedSource, what: Transform, store: Path, name: str | None = None, **options: Any
) -> Any:
    return preprocess(source, what, store=store, name=name, workers=0, options=BuildOptions(**options))


@contextmanager
def opened(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Collect the names of the files of recordings that are opened in the ``with`` block."""
    names: list[str] = []
    open_reader = vars(source_files)["open_reader"]

    def counted(source: Any, *arguments: Any, **options: Any) -> Any:
        names.extend(file.name for file in source.files)
        return open_reader(source, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setitem(vars(source_files), "open_reader", counted)
        yield names


def is_as_built(features: Any, source: LocatedSource, what: Transform, store: Path) -> bool:
    built = build(source, what, store, derive=False)
    assert features.address == built.address
    assert features.digest == built.digest
    assert verify(features, depth="deep") == []
    for field in ("nnz", "n_bins", "max_index", "max_value", "events", "skipped", "samples", "layout"):
        assert getattr(features.manifest, field) == getattr(built.manifest, field), field
    return True


@pytest.mark.parametrize(
    "what",
    [
        pytest.param(transform(100, 4), id="4 ms, 100 channels"),
        pytest.param(transform(128, 8, clip=1), id="128 channels, binary", marks=pytest.mark.slow),
        pytest.param(
            transform(140, 10, include_incomplete=False), id="no incomplete bin", marks=pytest.mark.slow
        ),
    ],
)
def test_a_coarse_set_is_derived(
    source: LocatedSource,
    fine: Path,
    tmp_path: Path,
    what: Transform,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = shutil.copytree(fine, tmp_path / "store")
    caplog.set_level(logging.INFO)
    with opened(monkeypatch) as names:
        features = build(source, what, store, name="coarse", fragment_samples=64)
    finer = Store(store)["fine:train"]
    keys = f"{finer.address.short}@{finer.digest[:12]}"
    assert (
        f"SSC train: 139 of 140 recordings are derived from the finer set {keys}; 1 is read"
        in caplog.messages
    )
    assert (
        names == ["ssc_train.h5"] * 2
    )  # files that are looked at in any build, and the file of the fragment with the event on the edge
    assert features.manifest.provenance["derived_recordings"] == 139
    assert features.manifest.provenance["derived_from"] == {
        "transform_key": FINE.key,
        "digest": finer.digest,
    }
    assert is_as_built(features, source, what, tmp_path / "other")


def test_without_an_event_on_the_edge_no_recording_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_file(tmp_path / "ssc_train.h5", draw(70))
    source, what = make_source("SSC", "train", tmp_path), transform(100, 4)
    build(source, FINE, tmp_path / "store")
    with opened(monkeypatch) as names:
        features = build(source, what, tmp_path / "store")
        assert names == []
    assert features.manifest.provenance["derived_recordings"] == 70
    assert is_as_built(features, source, what, tmp_path / "other")


@pytest.mark.slow
def test_no_derive_reads_the_recordings(
    source: LocatedSource, fine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = shutil.copytree(fine, tmp_path / "store")
    with opened(monkeypatch) as names:
        features = build(source, transform(100, 4), store, derive=False)
    assert names
    assert "derived_recordings" not in features.manifest.provenance


@pytest.mark.slow
def test_a_finer_set_in_an_upstream_is_compared_with_its_digests(
    source: LocatedSource, fine: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    what = transform(350, 2)
    features = build(source, what, tmp_path / "store", upstreams=(str(fine),))
    assert any(f"in {fine}; 1 is read" in message for message in caplog.messages)
    assert is_as_built(features, source, what, tmp_path / "other")


@pytest.mark.slow
def test_a_forged_set_in_an_upstream_is_not_used(source: LocatedSource, fine: Path, tmp_path: Path) -> None:
    """Its hashes in ``check`` fit its false counts, and its digest is that of the true ones."""
    upstream = shutil.copytree(fine, tmp_path / "upstream")
    forgery = Forgery(upstream, Store(upstream)["fine:train"].address)
    blocks = forgery.features.record(0).blocks
    rows = forgery.rows()
    rows.value[0] += 1
    forgery.replace_rows(rows)
    forgery.change_record(lambda record: record.update(blocks=list(blocks)))
    forgery.add_up()
    assert forgery.features.digest == Store(fine)["fine:train"].digest
    what = transform(350, 2)
    features = build(source, what, tmp_path / "store", upstreams=(str(upstream),))
    assert is_as_built(features, source, what, tmp_path / "other")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "warning"),
    [
        (
            "value/c/0",
            "some rows of the finer set cannot be read, so they were computed from the recordings (1 problem; the first: ",
        ),
        ("n_bins/c/0", "is not derived from "),
    ],
)
def test_a_damaged_finer_set_is_reported_and_recordings_are_read(
    source: LocatedSource,
    fine: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    name: str,
    warning: str,
) -> None:
    store = shutil.copytree(fine, tmp_path / "store")
    damage(next(store.rglob(name)))
    features = build(source, transform(100, 4), store)
    (message,) = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert warning in message
    assert is_as_built(features, source, transform(100, 4), tmp_path / "other")


@pytest.mark.slow
def test_jobs_of_an_array_derive(source: LocatedSource, fine: Path, tmp_path: Path) -> None:
    store, what = shutil.copytree(fine, tmp_path / "store"), transform(100, 4)
    for part in ((1, 2), (2, 2)):
        build(source, what, store, part=part, fragment_samples=64)
    features = build(source, what, store, finalise=True)
    assert is_as_built(features, source, what, tmp_path / "other")


def test_a_warning_about_a_derived_set_reads_no_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write_file(tmp_path / "ssc_train.h5", draw(70))
    source = make_source("SSC", "train", tmp_path)
    build(source, FINE, tmp_path / "store")
    with opened(monkeypatch) as names:
        build(source, transform(700, 2000), tmp_path / "store")
    assert names == []
    assert (
        "has more than one time bin of 2,000,000 µs: the set was computed from a finer set, so the times of"
        in caplog.text
    )


@pytest.mark.slow
def test_the_plan_of_a_build_counts_derived_recordings(source: LocatedSource, fine: Path) -> None:
    wanted = RequestedSet("train", source, transform(100, 4))
    cost = estimate(Store(fine).storage, wanted, workers=1, reuse=Reuse(Store(fine), None))
    assert (cost.derived, cost.reused, cost.recordings) == (139, 0, 140)


def test_rows_can_be_sent_to_workers(source: LocatedSource, fine: Path) -> None:
    what = transform(100, 4)
    address = Address(what.key, source.source.key)
    rows = find_finer_rows(Store(fine), Upstreams(()), address, what, label="train")
    assert rows is not None
    part = pickle.loads(pickle.dumps(rows.part(range(128, 140))))  # noqa: S301 our own bytes
    ((first, columns),), problems = part.read(range(128, 139))
    assert (first, len(columns), problems) == (128, 11, [])


def locked_without_recordings(tmp_path: Path, *others: Any) -> Path:
    """Return a recipe with a lock, whose recordings are gone; `tmp_path` / "store" has a finer set."""
    data = write_file(tmp_path / "data/ssc_train.h5", [*draw(70), *others])
    for name, what, store in (("coarse", transform(100, 4), "elsewhere"), ("fine", FINE, "store")):
        operations = [
            "[[transform]]\n"
            + "".join(f"{key} = {json.dumps(each)}\n" for key, each in step.items() if each is not None)
            for step in what.to_mapping()["operations"]
        ]
        source = '[source]\ndataset = "SSC"\ndata = "data"\nsplits = ["train"]\n'
        recipe = tmp_path / f"{name}.toml"
        recipe.write_text(f'name = "{name}"\n{source}' + "".join(operations))
        preprocess(recipe, store=tmp_path / store, workers=0)
    shutil.rmtree(data.parent)
    return tmp_path / "coarse.toml"


@pytest.mark.slow
@pytest.mark.parametrize("on_the_edge", [False, True])
def test_a_locked_set_is_derived_without_recordings(tmp_path: Path, on_the_edge: bool) -> None:
    recipe = locked_without_recordings(tmp_path, *([ON_THE_EDGE] if on_the_edge else []))
    if on_the_edge:
        reason = "the set cannot be derived from the finer set .* alone, because 1 recording must be read"
        with pytest.raises(SourceNotFoundError, match=reason):
            preprocess(recipe, store=tmp_path / "store", workers=0)
        return
    features = preprocess(recipe, store=tmp_path / "store", workers=0)["train"]
    assert features.digest == Store(tmp_path / "elsewhere")["coarse:train"].digest
    assert features.manifest.provenance["derived_recordings"] == 70


def test_plan_and_array_jobs_derive_a_locked_set_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without recordings, `plan` expects what `preprocess` does, and `--finalise` commits the parts that were derived."""
    recipe, store = locked_without_recordings(tmp_path), tmp_path / "store"
    command = ("plan", str(recipe), "--store", str(store))
    assert main([*command, "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["splits"]
    assert (row["state"], row["recordings"], row["derived_recordings"]) == ("to compute", 70, 70)
    assert main(command) == 0
    assert (
        "the recordings of 1 set are missing, so this set is derived from a finer set: time and size are not estimated"
        in capsys.readouterr().err
    )
    preprocess(recipe, store=store, workers=0, options=BuildOptions(part=(1, 1)))
    features = preprocess(recipe, store=store, workers=0, options=BuildOptions(finalise=True))["train"]
    assert features.digest == Store(tmp_path / "elsewhere")["coarse:train"].digest


def test_plan_says_why_a_locked_set_is_unavailable(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = locked_without_recordings(tmp_path)
    recipe.write_text(recipe.read_text().replace("4000.0", "3500.0"))
    command = ("plan", str(recipe), "--store", str(tmp_path / "store"))
    assert main(command) == 0
    why = "the lock has train with another transform than the recipe"
    shown = capsys.readouterr()
    assert ("unavailable: no recordings" in shown.out, why in " ".join(shown.err.split())) == (True, True)
    assert main([*command, "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["splits"]
    assert (row["state"], row["reason"].endswith(why)) == ("unavailable: no recordings", True)


def test_a_locked_set_is_not_derived_for_another_recipe(tmp_path: Path) -> None:
    """The error came after the set was derived and stored, and `plan` did not have it."""
    recipe = locked_without_recordings(tmp_path)
    recipe.write_text(recipe.read_text().replace('data = "data"', 'data = "data"\nlimit = 2'))
    with pytest.raises(
        UsageError, match=r"the lock has SSC train with no limit, but the recipe has limit = 2"
    ):
        preprocess(recipe, store=tmp_path / "store", workers=0)
    assert len(list((tmp_path / "store").rglob("manifest.json"))) == 1  # the finer set
    assert main(["plan", str(recipe), "--store", str(tmp_path / "store")]) == 2
