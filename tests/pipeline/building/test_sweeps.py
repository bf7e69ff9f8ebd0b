"""A recipe with ``[[sweep]]`` builds several sets and reads each recording once; each set equals the one of a recipe of its own."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from tests.pipeline.cochlea_files import draw, write_file

from spikestore.pipeline import BuildOptions, load_recipe, preprocess
from spikestore.pipeline.importing.import_cache import import_cache
from spikestore.pipeline.readers.cochlea_files.cochlea import CochleaReader
from spikestore.store import Store
from spikestore.store.cli.main import main
from spikestore.store.upkeep.verify import verify
from spikestore.store_schemas.errors import SpecError, StoreError, UsageError

pytestmark = pytest.mark.usefixtures("few_events")

RECIPE = """
name = "ssc"
[source]
dataset = "SSC"
data = "data"
splits = ["train"]

[[transform]]
op = "downsample"
spatial_factor = "100/700"

[[transform]]
op = "to_frame"
sensor_size = [100, 1, 1]
time_window = 4000
include_incomplete = true
"""

SWEEPS = """
[[sweep]]
suffix = "4ms"

[[sweep]]
suffix = "10ms"
to_frame.time_window = 10_000

[[sweep]]
suffix = "140ch"
downsample.spatial_factor = "140/700"
to_frame.sensor_size = [140, 1, 1]
to_frame.time_window = 5000
"""

ALONE = {
    "ssc-4ms": RECIPE,
    "ssc-10ms": RECIPE.replace("4000", "10_000"),
    "ssc-140ch": RECIPE.replace("100", "140").replace("4000", "5000"),
}


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    write_file(tmp_path / "data/ssc_train.h5", draw(70))
    path = tmp_path / "r.toml"
    path.write_text(RECIPE + SWEEPS)
    return path


@pytest.fixture
def rows_read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that gets the rows of the recordings that are read from here on."""
    rows: list[int] = []
    read_block = CochleaReader.read_block

    def counted(self: CochleaReader, start: int, stop: int) -> Any:
        rows.extend(range(start, stop))
        return read_block(self, start, stop)

    monkeypatch.setattr(CochleaReader, "read_block", counted)
    return rows


def build(recipe: Path, store: Path, **options: Any) -> Any:
    return preprocess(recipe, store=store, workers=0, options=BuildOptions(fragment_samples=64, **options))


def are_as_built_alone(recipe: Path, store: Path) -> bool:
    for name, text in ALONE.items():
        path = recipe.with_name(f"{name}.toml")
        path.write_text(text.replace('"ssc"', f'"{name}"'))
        alone = build(path, recipe.parent / "alone", derive=False)["train"]
        features = Store(store)[f"{name}:train"]
        assert (features.address, features.digest) == (alone.address, alone.digest)
        assert verify(features, depth="deep") == []
    return True


def test_each_recording_is_read_once(recipe: Path, tmp_path: Path, rows_read: list[int]) -> None:
    sets = build(recipe, tmp_path / "store")
    assert sorted(rows_read) == list(range(70))
    assert list(sets) == ["ssc-4ms:train", "ssc-10ms:train", "ssc-140ch:train"]
    assert are_as_built_alone(recipe, tmp_path / "store")
    locks = sorted(path.name for path in tmp_path.glob("r*.lock"))
    assert locks == ["r-10ms.lock", "r-140ch.lock", "r-4ms.lock"]
    rows_read.clear()
    assert list(build(recipe, tmp_path / "store")) == list(sets)
    assert rows_read == []


def test_the_log_of_a_sweep(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Each set has the checks and warnings of one from its own recipe, and a new set is not logged as resumed."""
    write_file(tmp_path / "data/ssc_train.h5", draw(70), labels=[1] * 70)
    recipe = tmp_path / "r.toml"
    recipe.write_text(RECIPE + SWEEPS)
    caplog.set_level(logging.INFO)
    build(recipe, tmp_path / "store")
    assert sum("all 70 recordings have the label 1 (one)" in message for message in caplog.messages) == 3
    assert not [message for message in caplog.messages if "stored already" in message]


def test_what_a_part_of_a_sweep_reports(
    recipe: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """The fragments that this job has built are counted for each variant. The JSON has the sets that are complete: none."""
    caplog.set_level(logging.INFO)
    arguments = ("--workers", "0", "--part", "1/2", "--fragment-samples", "64", "--json")
    assert main(["preprocess", str(recipe), "--store", str(tmp_path / "store"), *arguments]) == 0
    assert caplog.messages.count("SSC train: part 1/2 has 1 fragment, of which this job built 1") == 3
    assert not [message for message in caplog.messages if "committed" in message]
    written = json.loads(capsys.readouterr().out)
    assert [(each["name"], each["feature_sets"]) for each in written] == [
        ("ssc-4ms", {}),
        ("ssc-10ms", {}),
        ("ssc-140ch", {}),
    ]


@pytest.mark.slow
def test_an_interrupted_sweep_resumes(
    recipe: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, rows_read: list[int]
) -> None:
    caplog.set_level(logging.INFO)
    build(recipe, tmp_path / "store", part=(1, 2))
    assert sorted(rows_read) == list(range(64))
    rows_read.clear()
    build(recipe, tmp_path / "store")
    assert sorted(rows_read) == list(range(64, 70))
    (line,) = [message for message in caplog.messages if "stored already" in message]
    assert line.startswith("SSC train, 3 variants: 64 of 70 samples are stored already; the build resumes")
    assert are_as_built_alone(recipe, tmp_path / "store")


@pytest.mark.slow
def test_parts_and_finalise(recipe: Path, tmp_path: Path, rows_read: list[int]) -> None:
    build(recipe, tmp_path / "store", part=(1, 2))
    with pytest.raises(StoreError, match="cannot finalise SSC train of ssc-4ms: 1 of 2 fragments is missing"):
        build(recipe, tmp_path / "store", finalise=True)
    build(recipe, tmp_path / "store", part=(2, 2))
    assert sorted(rows_read) == list(range(70))
    build(recipe, tmp_path / "store", finalise=True)
    assert are_as_built_alone(recipe, tmp_path / "store")


@pytest.mark.slow
def test_a_finer_set_is_used_where_it_determines_a_variant(
    recipe: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, rows_read: list[int]
) -> None:
    fine = recipe.with_name("fine.toml")
    fine.write_text(RECIPE.replace('"ssc"', '"fine"').replace("4000", "2000"))
    build(fine, tmp_path / "store")
    rows_read.clear()
    caplog.set_level(logging.INFO)
    build(recipe, tmp_path / "store")
    assert sum("are derived from the finer set" in message for message in caplog.messages) == 2
    assert sorted(rows_read) == list(range(70))  # for 140 channels
    assert are_as_built_alone(recipe, tmp_path / "store")


@pytest.mark.slow
def test_plan_and_ls_show_the_variants(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = str(tmp_path / "store")
    assert main(["plan", str(recipe), "--store", store]) == 0
    shown = capsys.readouterr().out
    assert [line.split()[0] for line in shown.splitlines()[1:4]] == [f"{name}:train" for name in ALONE]
    assert main(["preprocess", str(recipe), "--store", store, "--workers", "0", "--name", "mine"]) == 0
    assert main(["ls", "--store", store]) == 0
    shown = capsys.readouterr().out
    assert all(f"mine-{suffix}" in shown for suffix in ("4ms", "10ms", "140ch"))


@pytest.mark.parametrize(
    ("sweep", "message"),
    [
        (
            'suffix = "a"\n[[sweep]]\nsuffix = "a"',
            r"each \[\[sweep\]\] must have a suffix of its own",
        ),
        (
            'suffix = "a"\ncrop_time.max = 5',
            r"\[\[sweep\]\] a has values for crop_time, but the recipe has no \[\[transform\]\] with this op",
        ),
        (
            'suffix = "a"\nto_frame.time_windw = 5',
            r"r.toml, \[\[sweep\]\] a: 1 problem\n  transform\[1\].time_windw: unknown field",
        ),
        ('suffix = "A b"', "sweep.0..suffix: must have 1 to 63 characters"),
        ('suffix = "a"\nto_frame = 4', "sweep.0..to_frame"),
    ],
)
def test_mistakes(tmp_path: Path, sweep: str, message: str) -> None:
    path = tmp_path / "r.toml"
    path.write_text(f"{RECIPE}\n[[sweep]]\n{sweep}\n")
    with pytest.raises(SpecError, match=message):
        load_recipe(path).variants(origin=str(path))


def test_a_cache_has_one_transform(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text(RECIPE + SWEEPS)
    with pytest.raises(UsageError, match=r"but the recipe has \[\[sweep\]\]: remove \[\[sweep\]\]"):
        import_cache(tmp_path, path, split="train", store=tmp_path / "store")
