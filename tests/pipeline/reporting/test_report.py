"""The facts of a report equal what NumPy finds in the dense frames."""

from __future__ import annotations

import functools
import json
import shlex
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.store.small_sets import BINS, SITES, SmallSet, memory_storage, small_set

from spikestore.pipeline.recipes.recipe import Recipe
from spikestore.pipeline.reporting.facts import scan
from spikestore.pipeline.reporting.facts.identity import identity, recipe_text
from spikestore.pipeline.reporting.page.charts import events_of_each_split
from spikestore.pipeline.reporting.page.page import code
from spikestore.pipeline.reporting.report import Report, make_report
from spikestore.store import FeatureSet, SampleColumns, Store
from spikestore.store_schemas.errors import UsageError

EXTRAS = ("speaker", "n_events", "n_cropped", "n_dropped")


def with_repeated_rows(small: SmallSet) -> SmallSet:
    """Return the set with row 20 equal to row 10, except for its label."""
    rows = [small.truth.rows(row, row + 1) for row in range(len(small))]
    rows[20] = replace(rows[10], label=1 - rows[10].label)
    joined = {
        name: np.concatenate([getattr(row, name) for row in rows])
        for name in ("index", "value", "nnz", "n_bins", "label")
    }
    extras = {name: np.concatenate([row.extras[name] for row in rows]) for name in EXTRAS}
    truth = SampleColumns(**joined, extras=extras)
    return replace(small, truth=truth, n_events=np.maximum(small.n_events, 180))


@pytest.fixture(scope="module")
def sets() -> dict[str, FeatureSet]:
    storage = memory_storage()
    train = with_repeated_rows(small_set(extras=EXTRAS))
    test = replace(small_set(100, seed=1, split="test", extras=EXTRAS, skipped=()))
    rows = [train.truth.rows(10, 11), *(test.truth.rows(row, row + 1) for row in range(1, 100))]
    names = ("index", "value", "nnz", "n_bins", "label")
    truth = SampleColumns(
        **{name: np.concatenate([getattr(row, name) for row in rows]) for name in names},
        extras={name: np.concatenate([row.extras[name] for row in rows]) for name in EXTRAS},
    )
    test = replace(test, truth=truth, n_events=np.maximum(test.n_events, 180))
    return {"test": test.build(storage), "train": train.build(storage)}


@pytest.fixture(scope="module")
def report(sets: dict[str, FeatureSet]) -> Report:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scan, "PIECE_VALUES", 500)  # several pieces in a fragment
        return make_report("small", sets)


@functools.cache
def frames(features: FeatureSet) -> dict[int, Any]:
    """Return the dense frames of all rows that were not skipped: (time, polarity, x)."""
    columns, dense = features.read(), {}
    for row in set(range(len(features))) - {row.row for row in features.manifest.skipped}:
        sample = columns.rows(row, row + 1)
        flat = np.zeros(int(sample.n_bins[0]) * SITES)
        flat[sample.index] = sample.value
        dense[row] = flat.reshape(-1, 1, SITES)
    return dict(sorted(dense.items()))


def test_it_is_json(report: Report) -> None:
    assert json.loads(json.dumps(report.document, allow_nan=False)) == report.document


def test_distributions(report: Report, sets: dict[str, FeatureSet]) -> None:
    for split, features in sets.items():
        label, dense = features.read().label, frames(features)
        measures = {
            "events in frames": {row: one.sum() for row, one in dense.items()},
            "non-zeros": {row: np.count_nonzero(one) for row, one in dense.items()},
            "length": {row: 4.0 * len(one) for row, one in dense.items()},
            "rate": {row: one.sum() / (4.0 * len(one)) for row, one in dense.items()},
            "density": {row: 100 * np.count_nonzero(one) / one.size for row, one in dense.items()},
        }
        found = [row for row in report.document["distributions"] if row["split"] == split]
        assert len(found) == 5 * 3
        for row in found:
            number = {"yes": 0, "no": 1}.get(row["class"])
            values = [
                value for place, value in measures[row["measure"]].items() if number in (None, label[place])
            ]
            assert (row["samples"], row["mean"], row["median"]) == (
                len(values),
                pytest.approx(np.mean(values)),
                pytest.approx(np.median(values)),
            )


def test_a_class_with_the_name_of_all_classes() -> None:
    """Its row is its own, and the row of all classes together is another one."""
    small = small_set(extras=EXTRAS)
    layout = small.layout.model_copy(update={"classes": ("all classes", "no")})
    features = replace(small, layout=layout).build(memory_storage())
    label = features.read().label
    found = make_report("small", {"train": features}).document["distributions"]
    rows = [(row["class"], row["all"], row["samples"]) for row in found if row["measure"] == "length"]
    counts = [int((label == number).sum()) for number in (0, 1)]
    assert rows == [
        ("all classes", True, sum(counts)),
        ("all classes", False, counts[0]),
        ("no", False, counts[1]),
    ]


def test_losses_values_and_sites(report: Report, sets: dict[str, FeatureSet]) -> None:
    for split, features in sets.items():
        dense = frames(features)
        lost = report.document["losses"][split]
        values = np.concatenate([one[one > 0] for one in dense.values()])
        assert lost["counted"] == values.sum()
        assert lost["merged"] == (values - 1).sum()
        assert lost["empty_samples"] == sum(not one.any() for one in dense.values())
        counts = {
            row["value"]: row["non_zeros"] for row in report.document["values"] if row["split"] == split
        }
        assert counts["1"] == (values == 1).sum()
        assert sum(counts.values()) == len(values)
    everything = [one.sum(axis=0) for features in sets.values() for one in frames(features).values()]
    assert np.allclose(report.document["sites"]["mean_events"], np.mean(everything, axis=0))


@pytest.mark.parametrize(
    ("non_zeros", "clipped", "title"),
    [
        (7, 0, "share of the events that were read"),
        (9, 0, "share of the events, each counted once per bin"),
        (7, None, "share of the events, each counted once per bin"),
    ],
    ids=["apart", "overlap", "overlap and clip_counts"],
)
def test_shares_of_events_in_overlapping_bins(non_zeros: int, clipped: int | None, title: str) -> None:
    """An event may be in two bins, so the parts are more than the events that were read."""
    lost = {"read": 10, "cropped": 1, "in_no_bin": 1, "clipped": clipped, "merged": 1, "non_zeros": non_zeros}
    chart = events_of_each_split({"train": {**lost, "counted": non_zeros + 1}})
    assert chart["encoding"]["x"]["title"] == title


def test_equal_samples(report: Report) -> None:
    found = report.document["duplicates"]
    assert found["across"] == [{"first": "train", "second": "test", "samples": 1}]
    assert found["within"] == {"train": 1, "test": 0}
    assert (found["groups"], found["other_class"]) == (1, 1)
    assert [(one["split"], one["row"]) for one in found["listed"][0]] == [
        ("train", 10),
        ("train", 20),
        ("test", 0),
    ]


def test_gallery(report: Report, sets: dict[str, FeatureSet]) -> None:
    """The chosen rows are what their reasons say, and their frames are those of the set."""
    for shown in report.gallery:
        features = sets[shown.split]
        dense = frames(features)
        flat = np.zeros(dense[shown.sample.row].size)
        flat[shown.sample.index] = shown.sample.value
        assert np.array_equal(flat, dense[shown.sample.row].reshape(-1))
        if "fullest" in shown.reasons:
            assert np.count_nonzero(flat) == max(np.count_nonzero(one) for one in dense.values())
        if "shortest" in shown.reasons:
            assert len(dense[shown.sample.row]) == min(map(len, dense.values()))
    assert sum("typical" in shown.reasons for shown in report.gallery) == 2


def test_entropy_of_the_columns(report: Report, sets: dict[str, FeatureSet]) -> None:
    bits = 0.0
    for features in sets.values():
        values = features.read().value
        share = np.unique(values, return_counts=True)[1] / len(values)
        bits -= len(values) * float((share * np.log2(share)).sum())
    costs = {row["column"]: row for row in report.document["columns"]}
    assert costs["value"]["entropy_bytes"] == pytest.approx(bits / 8)
    stored = sum(
        entry.size
        for features in sets.values()
        for entry in features.storage.list(f"{features.data_path}/value/c")
    )
    assert costs["value"]["stored_bytes"] == stored


def test_wider_bins_are_sums_of_bins(report: Report, sets: dict[str, FeatureSet]) -> None:
    """All samples are in the sweep here."""
    double = next(one for one in report.document["bin_widths"]["results"] if one["factor"] == 2)
    non_zeros = places = 0
    for features in sets.values():
        for one in frames(features).values():
            padded = np.concatenate([one, np.zeros((len(one) % 2, 1, SITES))])
            pairs = padded[::2] + padded[1::2]
            non_zeros, places = non_zeros + int(np.count_nonzero(pairs)), places + pairs.size
    assert double["non_zeros"] * double["samples"] == pytest.approx(non_zeros)
    assert double["density"] == pytest.approx(non_zeros / places)


def test_the_read_out_is_ridge_regression(report: Report, sets: dict[str, FeatureSet]) -> None:
    """The confusion matrix is that of the textbook's formula, on inputs computed from dense frames."""
    width = -(-int(np.quantile([len(one) for one in frames(sets["train"]).values()], 0.95)) // 8)

    def inputs(features: FeatureSet) -> Any:
        parts = []
        for one in frames(features).values():
            padded = np.zeros((max(8 * width, BINS), SITES))
            padded[: len(one)] = one[:, 0]
            sums = [padded[k * width : (k + 1) * width if k < 7 else None].sum(axis=0) for k in range(8)]
            parts.append(np.concatenate(sums))
        return np.log1p(np.array(parts))

    def labels(features: FeatureSet) -> Any:
        label = features.read().label
        return label[label >= 0]

    x, y = inputs(sets["train"]), np.eye(2)[labels(sets["train"])]
    centred = x - x.mean(axis=0)
    penalty = 0.1 * np.trace(centred.T @ centred) / x.shape[1]
    weights = np.linalg.solve(
        centred.T @ centred + penalty * np.eye(x.shape[1]), centred.T @ (y - y.mean(axis=0))
    )
    found = ((inputs(sets["test"]) - x.mean(axis=0)) @ weights + y.mean(axis=0)).argmax(axis=1)
    [test] = report.document["linear"]["tests"]
    expected = np.zeros((2, 2), int)
    np.add.at(expected, (labels(sets["test"]), found), 1)
    assert test["confusion"] == expected.tolist()
    assert test["accuracy"] == pytest.approx(np.mean(found == labels(sets["test"])))


def test_the_recipe_gives_the_same_key(sets: dict[str, FeatureSet]) -> None:
    text = recipe_text("small", sets)
    assert text is not None
    recipe = Recipe.from_mapping(tomllib.loads(text), origin="report")
    assert recipe.transform_spec().key == sets["train"].address.transform_key
    assert recipe.source.dataset == "SSC"


@pytest.mark.parametrize("whole", [True, False])
def test_a_report_on_a_key_has_a_recipe(sets: dict[str, FeatureSet], *, whole: bool) -> None:
    """A key is not a valid name of a recipe, and the code that loads the set has no split after it."""
    transform_key, source_key = sets["train"].address
    key = f"{transform_key}/{source_key}" if whole else transform_key
    document = identity(key, {"train": sets["train"]})
    assert all(f'["{key}"]' in text for text in code(document, "int16").values())
    recipe = Recipe.from_mapping(tomllib.loads(document["recipe"]), origin="report")
    assert recipe.transform_spec().key == sets["train"].address.transform_key


def test_the_command_of_a_report_runs_in_a_shell(tmp_path: Path) -> None:
    features = small_set(extras=EXTRAS).build(Store(tmp_path / "my store").storage)
    command = identity("small", {"train": features})["command"]
    assert shlex.split(command)[-2:] == ["--store", str(tmp_path / "my store")]


def test_one_split_holds_out_samples(sets: dict[str, FeatureSet]) -> None:
    linear = make_report("small:train", {"train": sets["train"]}).document["linear"]
    [test] = linear["tests"]
    assert linear["fitted_samples"] + test["samples"] == 168
    assert test["samples"] == 33  # every fifth row, without the skipped row 130


def test_nothing_but_skipped_recordings() -> None:
    small = small_set(2, skipped=(0, 1), extras=EXTRAS)
    with pytest.raises(UsageError, match="all recordings of train were skipped"):
        make_report("small", {"train": small.build(memory_storage())})
