"""Subsets and named partitions, which are stored, opened by name, and never changed."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.pipeline.folders import draw, recipe_for, save
from tests.store.s3_server import BUCKET, options
from tests.store.small_sets import small_set

from spikestore.pipeline import preprocess
from spikestore.store import FeatureSet, Store
from spikestore.store.storage import FolderStorage
from spikestore.store.storage.objects import ObjectStorage
from spikestore.store_schemas.documents.partition import Partition, runs_of
from spikestore.store_schemas.errors import (
    ConflictError,
    DamagedError,
    SpecError,
    UnknownNameError,
    UsageError,
)
from spikestore.train import (
    FeatureDataset,
    FeatureLoader,
    hold_out,
    keep_partition,
    partition_rows,
    rows_where,
)


@pytest.fixture
def copied(store_folder: Path, tmp_path: Path) -> FeatureSet:
    """Return the train split in a store of its own."""
    return Store(shutil.copytree(store_folder, tmp_path / "store"))["small:train"]


def rows_of(loader: FeatureLoader) -> list[int]:
    """Return the rows of an epoch."""
    return [row for batch in loader for row in batch.samples.tolist()]


def test_a_team_opens_it_by_name(copied: FeatureSet, tmp_path: Path, s3_endpoint: str) -> None:
    """It is opened from the same folder, from a bucket after a push, and from another folder after a pull."""
    kept, held = hold_out(copied, 0.2, seed=5)
    keep_partition(copied, "tenth", {"train": kept, "valid": held})
    keep_partition(
        copied, "tenth", {"train": kept, "valid": held}
    )  # storing the same partition again succeeds
    remote = Store(ObjectStorage.from_url(f"s3://{BUCKET}/partition", **options(s3_endpoint)))
    Store(tmp_path / "store").push("small", remote)
    Store(tmp_path / "other").pull("small", remote)
    for store in (Store(tmp_path / "store"), remote, Store(tmp_path / "other")):
        features = store["small:train"]
        for residence in ("host", "stream"):
            for part, rows in (("train", kept), ("valid", held)):
                assert rows_of(FeatureLoader(features, 16, residence, rows=f"tenth:{part}")) == rows.tolist()
    with pytest.raises(
        UnknownNameError, match=r"no partition 'tenth' of this source .*; partitions of this source: none"
    ):
        partition_rows(Store(tmp_path / "other")["small:valid"], "tenth:valid")


def test_columns_of_a_folder_select_rows(tmp_path: Path) -> None:
    """Columns of a folder select rows like stored columns, also after a skipped recording."""
    trials = [-1, 0, 1, 2, -1, 0, 1, 2]
    for row in range(8):
        save(tmp_path / f"data/{row}.npy", draw(row))
    (tmp_path / "data/5.npy").write_bytes(b"no array")
    lines = [f"{row}.npy,{row % 2},{trial}\n" for row, trial in enumerate(trials)]
    (tmp_path / "data/labels.csv").write_text("".join(["file,label,trial\n", *lines]))
    recipe = recipe_for(tmp_path / "data", {"columns": ["trial"], "on_error": "skip"}, table="labels.csv")
    features = preprocess(recipe, store=tmp_path / "store", workers=0)["all"]
    assert FeatureDataset(features).column("trial").tolist() == trials[:5] + trials[6:]
    assert rows_where(features, "trial", [-1, 2]).tolist() == [0, 3, 4, 7]
    kept, held = (set(features.column("trial")[rows]) for rows in hold_out(features, 0.4, by="trial"))
    assert (len(held), kept & held) == (2, set())
    with pytest.raises(
        UsageError, match=r"no column 'trials'; its columns are nnz, n_bins, label, .*, trial"
    ):
        hold_out(features, 0.4, by="trials")


def test_texts_and_real_numbers_select_rows(tmp_path: Path) -> None:
    """They select and divide rows like whole numbers; numbers are not compared with texts."""
    devices, gains = ["a", "b", "a", "1", "c", "b", "d", "a"], [0.5, 1, 2.5, 0.5, 1, 3, 4, 0.5]
    for row in range(8):
        save(tmp_path / f"data/{row}.npy", draw(row))
    lines = [
        f"{row}.npy,{row % 2},{device},{gain}\n"
        for row, (device, gain) in enumerate(zip(devices, gains, strict=True))
    ]
    (tmp_path / "data/labels.csv").write_text("".join(["file,label,device,gain\n", *lines]))
    recipe = recipe_for(tmp_path / "data", {"columns": ["device", "gain"]}, table="labels.csv")
    features = preprocess(recipe, store=tmp_path / "store", workers=0)["all"]
    items = FeatureDataset(features)
    for data, column in ((features, features.column), (items, items.column)):
        assert column("device").tolist() == devices
        assert rows_where(data, "device", ["a", "1"]).tolist() == [0, 2, 3, 7]
        assert rows_where(data, "gain", [0.5]).tolist() == [0, 3, 7]
        for several in (iter(["a", "1"]), {"a": 0, "1": 1}.keys(), {0: "a", 1: "1"}.values()):
            assert rows_where(data, "device", several).tolist() == [0, 2, 3, 7]
        for by in ("device", "gain"):
            kept, held = (set(column(by)[rows].tolist()) for rows in hold_out(data, 0.4, by=by))
            assert (len(held), kept & held) == (2, set())
    with pytest.raises(UsageError, match="values of the column 'device' must be strings, got 1"):
        rows_where(features, "device", [1])
    with pytest.raises(UsageError, match="values of the column 'gain' must be numbers, got 'a'"):
        rows_where(features, "gain", ["a"])
    one_is_wrong: list[tuple[str, Any, str]] = [
        ("gain", [0.5, "a", None], "numbers, got 'a'"),
        ("gain", [3, None], "numbers, got None"),
        ("gain", [3, 2**64], f"numbers of at most 64 bits, got {2**64}"),
        ("device", ["a", 0.5], "strings, got 0.5"),
        ("label", [0, "0"], "numbers, or all of them class names, got '0'"),
    ]
    for name, values, words in one_is_wrong:
        with pytest.raises(UsageError, match=f"values of the column '{name}' must be {re.escape(words)}$"):
            rows_where(features, name, values)
    numbers: list[Any] = [torch.tensor(3), np.array(4.0), np.float32(0.25), 2**64 - 1]
    assert rows_where(features, "gain", numbers).tolist() == [5, 6]
    assert sorted(rows_of(FeatureLoader(features, 4, rows=rows_where(features, "device", "a")))) == [0, 2, 7]


def test_a_column_named_sample_is_ambiguous(tmp_path: Path) -> None:
    """`hold_out` must not hold out single rows if the user means that column."""
    save(tmp_path / "data/0.npy", draw(0))
    (tmp_path / "data/labels.csv").write_text("file,label,sample\n0.npy,0,1\n")
    recipe = recipe_for(tmp_path / "data", {"columns": ["sample"]}, table="labels.csv")
    features = preprocess(recipe, store=tmp_path / "store", workers=0)["all"]
    with pytest.raises(UsageError, match=r"has a column 'sample', .*: rename the column"):
        hold_out(features, 0.4)


@pytest.mark.parametrize("part", [0, 1, float("nan"), "x", np.array([0.1, 0.2]), torch.tensor([0.1, 0.2])])
def test_shares_that_are_refused(copied: FeatureSet, part: Any) -> None:
    """A share is a number between 0 and 1; a text is named too."""
    with pytest.raises(UsageError, match="part must be above 0 and below 1"):
        hold_out(copied, part)


def test_a_share_may_be_a_scalar_of_torch(copied: FeatureSet) -> None:
    """As in other arguments; a tensor cannot be rounded by Python."""
    parts: list[Any] = [0.25, torch.tensor(0.25), np.float32(0.25)]
    held = [hold_out(copied, part)[1].tolist() for part in parts]
    assert held[0] == held[1] == held[2]


@pytest.mark.parametrize(
    "weights",
    [["a", "b"], ["1_1"] * 150, np.full(150, 1 + 1j), {0: 1}],
    ids=["texts", "digits", "complex", "mapping"],
)
def test_weights_that_are_no_numbers(copied: FeatureSet, weights: Any) -> None:
    """NumPy would read the text 1_1 as 11, and drop imaginary parts."""
    with pytest.raises(UsageError, match="weights must be numbers, got"):
        FeatureLoader(copied, 4, weights=weights)


def test_rows_of_several_lengths(copied: FeatureSet) -> None:
    with pytest.raises(UsageError, match=r"rows must be row numbers or a mask, got \[\[1\], \[2, 3\]\]"):
        FeatureLoader(copied, 4, rows=[[1], [2, 3]])


def test_users_are_held_out_whole(tmp_path: Path) -> None:
    """Like speakers, users are in one part only: a column on request can divide a set too."""
    made = small_set(60, extras=("n_events", "user"), skipped=())
    made.truth.extras["user"][:] = np.arange(60) % 5
    kept, held = hold_out(made.build(FolderStorage(tmp_path / "store")), 0.4, by="user")
    assert (len(set(kept % 5)), len(set(held % 5)), len(held)) == (3, 2, 24)
    assert not set(kept % 5) & set(held % 5)


def test_it_is_never_changed(copied: FeatureSet, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Another partition of the same name is rejected by `keep_partition` and by a copy, which reports it."""
    keep_partition(copied, "half", {"a": np.arange(10, 75), "b": np.arange(75, 150)})
    with pytest.raises(ConflictError, match=r"another partition 'half' of this source.*use another name"):
        keep_partition(copied, "half", {"a": np.arange(10, 76)})
    other = Store(tmp_path / "other")
    Store(tmp_path / "store").push("small", other)
    keep_partition(copied, "third", {"a": [0, 1]})
    keep_partition(other["small:train"], "third", {"a": [1, 2]})
    Store(tmp_path / "store").push("small", other)
    assert "not copied: " in caplog.text
    assert partition_rows(other["small:train"], "third:a").tolist() == [1, 2]


def test_wrong_names_and_parts(copied: FeatureSet) -> None:
    """The error lists the existing names."""
    keep_partition(copied, "half", {"a": [1, 2], "b": np.arange(150) > 90})
    for text, message in (
        ("haff:a", "no partition 'haff' of this source in .*; partitions of this source: half"),
        ("half:c", "no part 'c': use half:a, half:b"),
        ("half", "no part '': use half:a, half:b"),
        ("../half:a", "no partition '../half'"),
    ):
        with pytest.raises(UnknownNameError, match=message):
            FeatureLoader(copied, 16, rows=text)
    with pytest.raises(SpecError, match="row 2 belongs to two parts"):
        keep_partition(copied, "both", {"a": [1, 2], "b": [2, 4]})
    for wrong in ("A", "a/b", ""):
        with pytest.raises(SpecError, match="1 to 63 characters of"):
            keep_partition(copied, wrong, {"a": [1]})


def test_damage_is_noticed(copied: FeatureSet, tmp_path: Path) -> None:
    """A changed byte, and a document of another name or source, are damage."""
    keep_partition(copied, "half", {"a": np.arange(75)})
    folder = tmp_path / "store" / "partitions" / copied.address.source_key
    shutil.copy(folder / "half.json", folder / "other.json")
    with pytest.raises(
        DamagedError, match=r"other\.json is damaged: it contains the partition 'half' of the source"
    ):
        partition_rows(copied, "other:a")
    data = (folder / "half.json").read_bytes()
    (folder / "half.json").write_bytes(data.replace(b"75", b"76"))
    with pytest.raises(DamagedError, match=r"half\.json"):
        partition_rows(copied, "half:a")


@given(rows=st.sets(st.integers(0, 60)))
def test_runs_give_the_rows_back(rows: set[int]) -> None:
    """Any rows, also none, are the same after conversion to runs."""
    found = np.array(sorted(rows), np.int64)
    one = Partition(name="x", source_key="0" * 64, samples=61, parts={"a": runs_of(found)})
    assert one.rows("a").tolist() == sorted(rows)


def test_runs_that_do_not_ascend_are_refused() -> None:
    """Runs beyond the source, and incomplete runs, are rejected too."""
    for bounds in ((3, 3), (5, 2), (0, 4, 2, 6), (0, 11), (1,)):
        with pytest.raises(SpecError, match="must be ascending ranges"):
            Partition(name="x", source_key="0" * 64, samples=10, parts={"a": bounds})


def shd_set(folder: Path, speakers: list[int], split: str = "train") -> FeatureSet:
    """Return a set of 60 rows (row 3 skipped) whose rows have these speakers in turn."""
    made = small_set(60, extras=("speaker", "n_events"), split=split, silent=range(0), skipped=(3,))
    made.truth.extras["speaker"][:] = np.resize(speakers, 60)
    return made.build(FolderStorage(folder))


def test_the_speaker_split_of_shd_is_the_same_everywhere(tmp_path: Path) -> None:
    """It needs no stored document; speakers 6 and 7 are in one part, all others in the other; skipped rows are in neither."""
    features = shd_set(tmp_path / "store", [0, 1, 6, 3, 7, 11])
    kept, held = (partition_rows(features, f"shd-speaker:{part}") for part in ("train", "valid"))
    speakers = features.column("speaker")
    assert (set(speakers[kept]), set(speakers[held])) == ({0, 1, 3, 11}, {6, 7})
    assert sorted([*kept, *held]) == [row for row in range(60) if row != 3]
    assert rows_of(FeatureLoader(features, 16, rows="shd-speaker:valid")) == held.tolist()


def test_the_speaker_split_is_only_for_the_train_split_of_shd(copied: FeatureSet, tmp_path: Path) -> None:
    test = shd_set(tmp_path / "test", [0, 4, 6], split="test")
    with pytest.raises(
        UsageError,
        match=r"has speaker 4, who is not in that split: divide this set with spikestore.train.hold_out",
    ):
        partition_rows(test, "shd-speaker:valid")
    with pytest.raises(UsageError, match=r"no recording for the part valid"):
        partition_rows(shd_set(tmp_path / "few", [0, 1]), "shd-speaker:valid")
    with pytest.raises(
        UsageError,
        match=r"the partition 'shd-speaker' exists only for SHD's split 'train', but .* has no column 'speaker'",
    ):
        partition_rows(copied, "shd-speaker:train")
    with pytest.raises(UnknownNameError, match=r"no part 'test': use shd-speaker:train or shd-speaker:valid"):
        partition_rows(copied, "shd-speaker:test")
    with pytest.raises(
        UsageError, match=r"shd-speaker is the name of a built-in partition: use another name"
    ):
        keep_partition(copied, "shd-speaker", {"train": [0]})
