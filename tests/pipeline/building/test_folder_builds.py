"""A folder of recordings, from the recipe to frames: compared with Tonic's ToFrame, grown, locked, repaired and refused."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.pipeline.folders import draw, recipe_for, save, write_tree
from tonic import transforms

from spikestore.pipeline import preprocess
from spikestore.pipeline.building.recompute import rows_from_recordings
from spikestore.pipeline.recipes.recipe import Recipe
from spikestore.store import Store
from spikestore.store.cli.main import main
from spikestore.store.upkeep.repair import repair
from spikestore.store.upkeep.verify import verify
from spikestore.store_schemas.errors import RecordingError, SourceError, SpecError, UsageError

FILES = tuple(
    f"{label}/u{user}_{i}.npy" for label in ("left", "right") for user in range(3) for i in range(2)
)
PATTERN = "{label}/u{user}_*.npy"


def build(recipe: Recipe, store: Path, **options: Any) -> dict[str, Any]:
    return preprocess(recipe, store=store, workers=0, **options)


def test_frames_are_tonics(tmp_path: Path) -> None:
    """Each sample equals that of Tonic's ToFrame, with labels and the column user."""
    written = write_tree(tmp_path / "data", *FILES)
    features = build(
        recipe_for(tmp_path / "data", {"columns": ["user"]}, pattern=PATTERN), tmp_path / "store"
    )["all"]
    to_frame = transforms.ToFrame((16, 12, 2), time_window=1000, include_incomplete=True)
    assert features.classes == ("left", "right")
    columns = features.read()
    assert columns.extras["user"].tolist() == [int(file.split("/u")[1][0]) for file in sorted(FILES)]
    start = 0
    for row, file in enumerate(sorted(FILES)):
        frames = np.zeros(int(columns.n_bins[row]) * 2 * 12 * 16, int)
        stop = start + int(columns.nnz[row])
        frames[columns.index[start:stop]] = columns.value[start:stop]
        start = stop
        np.testing.assert_array_equal(frames.reshape(-1, 2, 12, 16), to_frame(written[file]))
        assert features.classes[columns.label[row]] == file.split("/")[0]
    assert verify(features, depth="deep") == []


def test_the_name_moves_to_more_recordings_and_not_to_other_labels(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root, store = tmp_path / "data", tmp_path / "store"
    write_tree(root, *FILES)
    first = build(recipe_for(root, pattern=PATTERN), store)["all"]
    save(root / "left/u0_1a.npy", draw(77))
    with caplog.at_level(logging.INFO):
        second = build(recipe_for(root, pattern=PATTERN), store)["all"]
    assert "moved mine:all from digest" in caplog.text
    assert (len(first), len(second)) == (12, 13)
    with pytest.raises(UsageError, match=r"it has other labels or columns: left/u0_0\.npy and 12 more files"):
        build(recipe_for(root, pattern=PATTERN, classes=["right", "left"]), store)
    with pytest.raises(UsageError, match=r"its files were read with settings of \[source\.folder\]"):
        build(recipe_for(root, pattern=PATTERN, offset="first_event"), store)
    (root / "right/u1_0.npy").unlink()
    with pytest.raises(UsageError, match=r"it has other recordings: right/u1_0\.npy"):
        build(recipe_for(root, pattern=PATTERN), store)


def test_a_bad_recording_is_named_or_skipped(tmp_path: Path) -> None:
    root = tmp_path / "data"
    write_tree(root, *FILES)
    (root / FILES[3]).write_bytes(b"\x93NUMPY")
    with pytest.raises(
        RecordingError,
        match=r"left/u1_1\.npy: the file is not a NumPy array.*: fix the recording, or set on_error",
    ):
        build(recipe_for(root, pattern=PATTERN), tmp_path / "store")
    features = build(recipe_for(root, {"on_error": "skip"}, pattern=PATTERN), tmp_path / "store")["all"]
    assert [row.row for row in features.manifest.skipped] == [3]
    assert str(tmp_path) not in features.manifest.skipped[0].reason


def test_events_outside_the_sensor_are_named(tmp_path: Path) -> None:
    events = draw(1)
    events["x"][7] = 16
    save(tmp_path / "data/a/1.npy", events)
    with pytest.raises(
        RecordingError, match=r"a/1\.npy, event 7: x = 16 is outside the sensor: x must be from 0 to 15"
    ):
        build(recipe_for(tmp_path / "data"), tmp_path / "store")


def test_unsorted_events_are_named_or_sorted(tmp_path: Path) -> None:
    events = draw(1)
    save(tmp_path / "data/a/1.npy", events[::-1])
    with pytest.raises(RecordingError, match=r"times are not sorted"):
        build(recipe_for(tmp_path / "data"), tmp_path / "store")
    assert len(build(recipe_for(tmp_path / "data", {"sort": True}), tmp_path / "store")["all"]) == 1


def test_the_recordings_repair_their_set(tmp_path: Path) -> None:
    """They repair it with the labels and settings of the set, also after files were added."""
    root = tmp_path / "data"
    write_tree(root, *FILES)
    features = build(recipe_for(root, {"columns": ["user"]}, pattern=PATTERN), tmp_path / "store")["all"]
    save(root / "left/u9_9.npy", draw(5))
    digest = features.digest
    objects = [path for path in (tmp_path / "store").rglob("c/0") if path.is_file()]
    objects[0].unlink()
    assert verify(features) != []
    repaired = repair(features, rows=rows_from_recordings(features, root))
    assert (len(repaired.repaired) > 0, repaired.left) == (True, ())
    assert verify(features, depth="deep") == []
    assert Store(tmp_path / "store")["mine:all"].digest == digest


def test_recordings_of_one_set_repair_it_beside_a_set_of_other_recordings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The set that comes first ended the command."""
    store = tmp_path / "store"
    for name, seed in (("first", 1), ("second", 2)):
        save(tmp_path / name / "a/1.npy", draw(seed))
        build(recipe_for(tmp_path / name), store, name=name)
    for path in store.rglob("index/c/0"):
        path.unlink()
    arguments = ("--data", str(tmp_path / "second"), "--store", str(store), "--json")
    assert main(["repair", "first", "second", *arguments]) == 1
    document = json.loads(capsys.readouterr().out)
    assert "does not have the recordings of folder all" in document["first:all"]["error"]
    assert len(document["second:all"]["repaired"]) == 1
    assert verify(Store(store)["second:all"]) == []


def test_a_lock_stands_for_recordings_with_columns_of_texts(tmp_path: Path) -> None:
    """The source has the parts of such a column, but the recipe and the message have its name."""
    root, lock = tmp_path / "data", tmp_path / "mine.lock"
    write_tree(root, "left/s_ann_7.npy", "right/s_bob_8.npy")

    def built(*columns: str) -> Any:
        recipe = recipe_for(root, {"columns": columns}, pattern="{label}/s_{who}_{number}.npy")
        return build(recipe, tmp_path / "store", lock=lock)["all"]

    features = built("who", "number")
    root.rename(tmp_path / "gone")
    assert built("who", "number").address == features.address
    with pytest.raises(
        UsageError, match=r'with columns = \["number", "who"\], but .* has columns = \["who"\]'
    ):
        built("who")


def test_a_lock_stands_for_missing_recordings(tmp_path: Path) -> None:
    root, lock = tmp_path / "data", tmp_path / "mine.lock"
    write_tree(root, *FILES)
    features = build(recipe_for(root, pattern=PATTERN), tmp_path / "store", lock=lock)["all"]
    root.rename(tmp_path / "gone")
    assert (
        build(recipe_for(root, pattern=PATTERN), tmp_path / "store", lock=lock)["all"].digest
        == features.digest
    )
    with pytest.raises(
        UsageError, match=r"the lock has folder all with time_unit = 'us' under \[source\.folder\]"
    ):
        build(recipe_for(root, pattern=PATTERN, time_unit="ms"), tmp_path / "store", lock=lock)
    for other, message in (
        ({"limit": 3}, "no limit, but the recipe has limit = 3; .* or remove limit under"),
        ({"on_error": "skip"}, '.* the recipe has on_error = "skip"; .* or set on_error = "raise" under'),
    ):  # the advice is TOML
        with pytest.raises(UsageError, match=f"the lock has folder all with {message}"):
            build(recipe_for(root, other, pattern=PATTERN), tmp_path / "store", lock=lock)


@pytest.mark.parametrize(
    ("settings", "difference"),
    [
        ({"classes": ["right", "left"]}, r"classes = \('left', 'right'\) under .*, but the recipe has \('right', 'left'\)"),
        ({"formats": ["text"]}, r"formats = \('npy',\) under .*, but the recipe has \('text',\)"),
        ({"exclude": ["right/*"]}, r"the file right/.*, which fits right/\* in exclude"),
        ({"pattern": "{label}/*.npz"}, r"the file left/.*, which does not fit the pattern \{label\}/\*\.npz"),
        ({"pattern": "{user}/{label}_*.npy"}, r"the file left/.* has the label 'left', but by the recipe its label is"),
        ({"pattern": "{split}/*"}, "the file left/.*, which is in the split 'left' by the recipe"),
        ({"shares": {"train": 0.5, "test": 0.5}}, "is in the split '(train|test)' by the recipe"),
        ({"shares": {"all": 1e-6, "test": 1 - 1e-6}, "group": "user"}, "is in the split 'test' by the recipe"),
    ],
)  # fmt: skip
def test_a_lock_does_not_stand_for_other_labels_splits_or_files(
    tmp_path: Path, settings: dict[str, Any], difference: str
) -> None:
    """Another order of the classes exchanged the labels in silence."""
    root, lock = tmp_path / "data", tmp_path / "mine.lock"
    write_tree(root, *FILES)
    build(recipe_for(root, pattern=PATTERN), tmp_path / "store", lock=lock)
    root.rename(tmp_path / "gone")
    with pytest.raises(UsageError, match=f"the lock has folder all with .*{difference}"):
        build(recipe_for(root, **{"pattern": PATTERN, **settings}), tmp_path / "store", lock=lock)


def test_a_lock_stands_for_the_same_labels_splits_and_files(tmp_path: Path) -> None:
    """What only the table states is not compared, because the table is missing too."""
    root, lock = tmp_path / "data", tmp_path / "mine.lock"
    write_tree(root, *FILES)
    (root / "table.csv").write_text("file,split\n" + "".join(f"{file},train\n" for file in FILES))
    settings: dict[str, Any] = {
        "pattern": PATTERN,
        "table": "table.csv",
        "classes": ["left", "right"],
        "formats": ["npy", "text"],
    }
    one = build(recipe_for(root, **settings), tmp_path / "store", lock=lock)
    shares: dict[str, Any] = {
        "formats": ["npy"],
        "pattern": PATTERN,
        "shares": {"train": 0.5, "test": 0.5},
        "exclude": ["*.txt"],
    }
    other = build(recipe_for(root, **shares), tmp_path / "store", lock=tmp_path / "other.lock", name="other")
    root.rename(tmp_path / "gone")
    assert (
        build(recipe_for(root, **settings), tmp_path / "store", lock=lock)["train"].digest
        == one["train"].digest
    )
    again = build(recipe_for(root, **shares), tmp_path / "store", lock=tmp_path / "other.lock", name="other")
    assert {split: set_.digest for split, set_ in again.items()} == {
        split: set_.digest for split, set_ in other.items()
    }


def test_settings_of_a_folder_need_that_data_set(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r'\[source\.folder\] needs dataset = "folder", got "SSC"'):
        recipe_for(tmp_path, {"dataset": "SSC"}, time_unit="ms")


@pytest.mark.slow
def test_workers_read_the_same(tmp_path: Path) -> None:
    write_tree(tmp_path / "data", *(f"a/{number:03d}.npy" for number in range(130)))
    recipe = recipe_for(tmp_path / "data")
    one = build(recipe, tmp_path / "one")["all"]
    two = preprocess(recipe, store=Store(tmp_path / "two"), workers=2)["all"]
    assert one.digest == two.digest


def test_too_many_bins_of_events_leave_an_empty_set_whatever_the_unit_of_the_times_is(tmp_path: Path) -> None:
    """The message advises fewer bins, and nothing about units and offsets."""
    save(tmp_path / "data/a/1.npy", draw(1))
    recipe = Recipe.from_mapping(
        {
            "name": "mine",
            "source": {"dataset": "folder", "data": str(tmp_path / "data")},
            "transform": [{"op": "to_frame", "sensor_size": [16, 12, 2], "n_event_bins": 100_000}],
        },
        origin="mine.toml",
    )
    with pytest.raises(SourceError, match=r"n_event_bins = 100,000\. Set a smaller n_event_bins\. To store"):
        build(recipe, tmp_path / "store")
