"""Keys change with every parameter, and with nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.hypothesis_profiles import examples
from tests.store_schemas.keyed_specs import FRAME, chain_of, key_of

from spikestore.store.testing.strategies import (
    VALUES,
    crop_times,
    downsamples,
    neighbours,
    positive_reals,
    reals,
    sizes,
    sources,
    to_frames,
    transforms,
)
from spikestore.store_schemas.documents.plan import make_plan
from spikestore.store_schemas.errors import SpecError
from spikestore.store_schemas.layout import layout_of
from spikestore.store_schemas.specs.files import SourceFile
from spikestore.store_schemas.specs.folder import Decoding, FolderContent
from spikestore.store_schemas.specs.model import Spec
from spikestore.store_schemas.specs.operations import (
    CenterCrop,
    ClipCounts,
    CropTime,
    Decimation,
    Denoise,
    Downsample,
    DropPixel,
    EventDownsampling,
    FixedDuration,
    FixedFramesNumber,
    MergePolarities,
    Operation,
    OwnOperation,
    RefractoryPeriod,
    TimeAlignment,
    TimeSkew,
    ToAveragedTimesurface,
    ToBinaRep,
    ToFrame,
    ToTimesurface,
    ToVoxelGrid,
)
from spikestore.store_schemas.specs.source import Source
from spikestore.store_schemas.specs.transform import Transform

OPERATIONS = get_args(get_args(Operation)[0])
FILE = SourceFile(name="a.h5", size=1, sha256="0" * 64)
FEW = settings(max_examples=examples(25))


def constants(model: type[Spec]) -> set[str]:
    """Return the fields that have only one legal value."""
    return {name for name, field in model.model_fields.items() if len(get_args(field.annotation)) == 1} & {
        "op",
        "version",
    }


@pytest.mark.parametrize("model", [*OPERATIONS, Transform, SourceFile, Source])
def test_every_field_of_every_model_is_tested(model: type[Spec]) -> None:
    """A field that is not in VALUES has only one legal value, and is in the key."""
    # test_every_member_of_a_folder…, test_items, test_import_cache
    apart = {"folder", "items", "cache"} if model is Source else set()
    assert VALUES[model].keys() | constants(model) | apart == model.model_fields.keys()
    assert not VALUES[model].keys() & constants(model)


@pytest.mark.parametrize("model", OPERATIONS)
def test_operation_and_version_are_hashed(model: type[Spec]) -> None:
    """A transform key is a hash of the name of each operation and the version of its results."""
    specs: dict[type[Spec], Operation] = {
        ToFrame: FRAME,
        Downsample: Downsample(),
        CropTime: CropTime(max=1.0),
        ClipCounts: ClipCounts(max=1),
        Decimation: Decimation(n=2),
        Denoise: Denoise(filter_time=1.0),
        DropPixel: DropPixel(coordinates=((1, 0),)),
        MergePolarities: MergePolarities(),
        CenterCrop: CenterCrop(sensor_size=(4, 4), size=(2, 2)),
        EventDownsampling: EventDownsampling(
            sensor_size=(4, 4), target_size=(2, 2), dt=1.0, noise_threshold=1
        ),
        OwnOperation: OwnOperation(name="a.b", version=1),
        TimeAlignment: TimeAlignment(),
        TimeSkew: TimeSkew(coefficient=2.0),
        RefractoryPeriod: RefractoryPeriod(delta=1.0),
        FixedDuration: FixedDuration(sensor_size=(4, 1, 1), duration=1),
        FixedFramesNumber: FixedFramesNumber(sensor_size=(4, 1, 1), frames_number=1, split_by="time"),
        ToVoxelGrid: ToVoxelGrid(sensor_size=(4, 1, 2), n_time_bins=3),
        ToTimesurface: ToTimesurface(sensor_size=(4, 1, 1), dt=1.0, tau=1.0),
        ToAveragedTimesurface: ToAveragedTimesurface(sensor_size=(4, 1, 1)),
        ToBinaRep: ToBinaRep(),
    }
    spec = specs[model]
    chain = chain_of(spec)
    hashed = Transform(operations=chain).key_document()["operations"][chain.index(spec)]
    assert hashed.items() >= {"op": spec.model_dump()["op"], "version": 1}.items()
    assert hashed.keys() == model.model_fields.keys()


@pytest.mark.parametrize(
    ("model", "field"), [(model, field) for model, fields in VALUES.items() for field in fields]
)
@FEW
@given(data=st.data())
def test_changing_any_one_parameter_changes_the_key(
    model: type[Spec], field: str, data: st.DataObject
) -> None:
    """Two specs that differ in any one field have different keys."""
    one, other = data.draw(neighbours(model, field))
    assert key_of(one) != key_of(other)


@FEW
@given(st.lists(transforms(), min_size=2, max_size=2))
def test_transforms_are_equal_exactly_if_their_keys_are(pair: list[Transform]) -> None:
    """Also changes that need two fields, such as another way of slicing, change the key."""
    assert (pair[0] == pair[1]) == (pair[0].key == pair[1].key)


@FEW
@given(sizes, st.sampled_from([0.0, 0.5]))
def test_ways_of_slicing_with_one_number_differ(number: int, overlap: float) -> None:
    """250 µs, 250 events, 250 bins of time and 250 bins of events are four transforms."""
    modes = ("time_window", "n_time_bins", "n_event_bins")
    frames: list[dict[str, Any]] = [{mode: number, "overlap": overlap} for mode in modes]
    frames.append({"event_count": number})
    keys = {key_of(ToFrame(sensor_size=(4, 1, 1), **fields)) for fields in frames}
    assert len(keys) == 4


@FEW
@given(downsamples, crop_times, to_frames())
def test_order_of_operations_changes_the_key(one: Downsample, two: CropTime, frame: ToFrame) -> None:
    """Cropping before and after downsampling are two transforms."""
    assert Transform(operations=(one, two, frame)).key != Transform(operations=(two, one, frame)).key


def without_defaults(spec: Spec) -> dict[str, Any]:
    return json.loads(json.dumps(spec.model_dump(mode="json", exclude_defaults=True)))  # type: ignore[no-any-return]


def spelled(transform: Transform) -> dict[str, Any]:
    """Return the fields that can't be left out: `op` has a default, but names the operation."""
    operations = [{"op": one.op, **without_defaults(one)} for one in transform.operations]
    return {**without_defaults(transform), "operations": operations}


@FEW
@given(transforms())
def test_spelling_out_a_default_of_a_transform_changes_nothing(transform: Transform) -> None:
    """A recipe has the same key with defaults left out or stated."""
    short = Transform.from_mapping(spelled(transform), origin="short")
    full = Transform.from_mapping(transform.to_mapping(), origin="full")
    assert short.key == full.key == transform.key
    assert short == full == transform


@FEW
@given(sources)
def test_spelling_out_a_default_of_a_source_changes_nothing(source: Source) -> None:
    """A source has the same key with defaults left out or stated."""
    short = Source.from_mapping(without_defaults(source), origin="short")
    full = Source.from_mapping(source.to_mapping(), origin="full")
    assert short.key == full.key == source.key
    assert short == full == source


@pytest.mark.parametrize("spec", [Downsample(), CropTime(max=1), FRAME, Transform(operations=(FRAME,))])
def test_hashed_documents_include_defaults(spec: Spec) -> None:
    """Every field is in the document, so that a changed default can't change the meaning of an old key."""
    assert spec.to_mapping().keys() == type(spec).model_fields.keys()


@FEW
@given(st.integers(-(2**53), 2**53))
def test_whole_numbers_and_equal_floats_have_one_key(number: int) -> None:
    """4000, 4000.0 and "8000/2" are the same parameter, in Python and in a recipe; -0.0 is 0."""
    wanted = key_of(CropTime(min=float(number), max=2.0**60))
    ways: list[object] = [number, f"{number}/1", f"{2 * number}/2"]
    if number == 0:
        ways.append(-0.0)
    for way in ways:
        assert key_of(CropTime(min=way, max=2**60)) == wanted  # type: ignore[arg-type]
        read = CropTime.from_mapping({"op": "crop_time", "min": way, "max": 2**60}, origin="test")
        assert key_of(read) == wanted


@FEW
@given(reals, positive_reals)
def test_a_fraction_is_the_quotient_that_python_computes(numerator: float, denominator: float) -> None:
    """A fraction has the key of its quotient, bit for bit."""
    quotient = numerator / denominator
    assume(abs(quotient) < 1e308)
    fraction = f"{numerator!r}/{denominator!r}"
    assert key_of(CropTime(min=fraction, max=1e308)) == key_of(CropTime(min=quotient, max=1e308))  # type: ignore[arg-type]


small = st.integers(1, 5000)


@FEW
@given(st.tuples(small, small), st.tuples(small, small, small))
def test_target_size_is_its_quotient_with_sensor_size(
    target: tuple[int, int], sensor: tuple[int, int, int]
) -> None:
    """target_size with sensor_size, the two quotients, and two fractions have one key."""
    quotients = (target[0] / sensor[0], target[1] / sensor[1])
    fractions = [f"{target[0]}/{sensor[0]}", f"{target[1]}/{sensor[1]}"]
    wanted = key_of(Downsample(spatial_factor=quotients))
    recipe: dict[str, Any] = {"op": "downsample"}
    for fields in (
        {"target_size": list(target), "sensor_size": list(sensor)},
        {"spatial_factor": fractions},
        {"spatial_factor": list(quotients)},
    ):
        assert key_of(Downsample.from_mapping({**recipe, **fields}, origin="test")) == wanted
    if quotients[0] == quotients[1]:
        assert key_of(Downsample(spatial_factor=quotients[0])) == wanted  # type: ignore[arg-type]


@FEW
@given(transforms(), sources)
def test_keys_survive_the_round_trip_through_json(transform: Transform, source: Source) -> None:
    """The order of members in a JSON or TOML file does not change the key."""
    for spec in (transform, source):
        text = json.dumps(spec.to_mapping(), sort_keys=True)
        back = type(spec).from_mapping(json.loads(text), origin="test")
        backwards = type(spec).from_mapping(dict(reversed(spec.to_mapping().items())), origin="test")
        assert back.key == backwards.key == spec.key


def test_the_hashed_transform_document_is_pinned() -> None:
    """It has the format, operations and max_bins: no plan, codec, path, host or number of workers."""
    assert Transform(operations=(FRAME,)).key_document().keys() == {"format", "operations", "max_bins"}


def test_columns_enter_a_source_key_only_if_there_are_any() -> None:
    """Keys of sources without columns are those of versions before columns existed."""
    fields: dict[str, Any] = {
        "reader": "r",
        "reader_version": 1,
        "dataset": "D",
        "split": "s",
        "files": (FILE,),
    }
    plain, empty = Source(**fields), Source(**fields, columns=())
    assert plain.key == empty.key
    assert "columns" not in plain.to_mapping()
    assert "columns" not in plain.model_dump_json()
    assert Source(**fields, columns=("age", "user")).key_document() == {
        **plain.key_document(),
        "columns": ["age", "user"],
    }
    for wrong in (("user", "age"), ("user", "user")):
        with pytest.raises(SpecError, match="columns must be sorted by name, without duplicates"):
            Source(**fields, columns=wrong)


DECODING: dict[str, Any] = {"formats": {"npy": 1}, "fields": ["t", "x"]}
FOLDER: dict[str, Any] = {
    "decoding": DECODING,
    "classes": ["a", "b"],
    "labels": [0, 1],
    "columns": {"user": [4, 5]},
}


def folder_source(folder: dict[str, Any] | None, columns: list[str]) -> Source:
    files = [{"name": name, "size": 1, "sha256": "0" * 64} for name in ("a", "b")]
    fields = {"reader": "folder", "reader_version": 1, "dataset": "folder", "split": "all", "files": files}
    optional = {"columns": columns} if columns else {}
    return Source.from_mapping(
        {**fields, **optional, **({"folder": folder} if folder else {})}, origin="test"
    )


def test_every_member_of_a_folder_changes_the_key() -> None:
    """Only members that are set are in the document: keys from before folders existed stay the same."""
    decodings: dict[str, Any] = {
        "formats": {"npy": 2},
        "fields": ["t", "x", "y"],
        "order": ["x", "t"],
        "names": {"t": "clock"},
        "time_unit": "ms",
        "offset": "first_event",
        "clock_bits": 24,
    }
    assert decodings.keys() == Decoding.model_fields.keys()
    changed: dict[str, Any] = {"classes": ["b", "a"], "labels": [1, 1], "columns": {"user": [4, 6]}}
    assert {*changed, "decoding"} == FolderContent.model_fields.keys()
    folders = [FOLDER | {member: value} for member, value in changed.items()]
    folders += [FOLDER | {"decoding": DECODING | {member: value}} for member, value in decodings.items()]
    first = folder_source(FOLDER, ["user"])
    sources = [first, folder_source(None, ["user"]), *(folder_source(folder, ["user"]) for folder in folders)]
    assert len({source.key for source in sources}) == len(sources)
    assert first.key_document()["folder"] == FOLDER | {"decoding": DECODING | {"time_unit": "us"}}
    assert "folder" not in folder_source(None, []).to_mapping()


def test_the_hashed_source_document_is_pinned() -> None:
    """It has nothing that changes when the data move: names are relative to the data set's folder; no times, no hosts."""
    document = Source(reader="r", reader_version=1, dataset="D", split="s", files=(FILE,)).key_document()
    assert document.keys() == {
        "format",
        "reader",
        "reader_version",
        "dataset",
        "split",
        "sort",
        "on_error",
        "limit",
        "files",
    }
    assert document["files"][0].keys() == {"name", "size", "sha256"}


def test_plans_do_not_enter_keys() -> None:
    """Builds with other fragments and other numbers of workers are builds of the same set."""
    transform = Transform(operations=(FRAME,))
    layout = layout_of(transform, has_y=False, classes=["a"], extras=[])
    n_events = np.full(1000, 5)
    plans = [make_plan(transform, "0" * 64, layout, n_events, workers=workers) for workers in (1, 4)]
    plans.append(make_plan(transform, "0" * 64, layout, n_events, fragment_samples=128))
    assert len({plan.hash for plan in plans}) == 3
    assert {(plan.transform_key, plan.source_key) for plan in plans} == {(transform.key, "0" * 64)}


SCRIPT = """
import json, locale, sys
from spikestore.store_schemas import Source, Transform
try:
    locale.setlocale(locale.LC_ALL, "")
except locale.Error:
    pass  # a machine without this locale still shows that the variable alone changes nothing
models = {"transform": Transform, "source": Source}
for case in json.load(open(sys.argv[1], encoding="utf-8")):
    print(models[case["kind"]].from_mapping(case["spec"], origin="golden").key)
"""


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONHASHSEED": "1", "LC_ALL": "de_DE.UTF-8"},
        {"PYTHONHASHSEED": "2", "LC_ALL": "C", "TZ": "Asia/Tokyo"},
    ],
)
def test_other_processes_locales_and_hash_seeds_have_the_same_keys(environment: dict[str, str]) -> None:
    """A new process computes the golden keys in any environment."""
    golden = Path(__file__).parents[1] / "golden" / "keys.json"
    finished = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(golden)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    assert finished.stdout.split() == [case["key"] for case in json.loads(golden.read_text(encoding="utf-8"))]


def test_golden_keys() -> None:
    """The keys were written down once; golden/README.md says when they may change."""
    models: dict[str, type[Transform | Source]] = {"transform": Transform, "source": Source}
    cases = json.loads((Path(__file__).parents[1] / "golden" / "keys.json").read_text(encoding="utf-8"))
    assert len(cases) >= 12
    for case in cases:
        what = case["what"]
        assert models[case["kind"]].from_mapping(case["spec"], origin=what).key == case["key"], what
    assert len({case["key"] for case in cases}) == len({case.get("same_as", case["what"]) for case in cases})
