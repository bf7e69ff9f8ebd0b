"""Reports on frames of real numbers: what they have instead of counts equals what NumPy finds in the dense frames."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.pipeline.reporting.test_browser import write_recordings

from spikestore.pipeline import preprocess
from spikestore.pipeline.building.options import BuildOptions
from spikestore.pipeline.reporting.report import Report, make_report
from spikestore.store import FeatureSet

SENSOR = "sensor_size = [24, 16, 2]"
OPERATIONS = {
    "to_voxel_grid": f'op = "to_voxel_grid"\n{SENSOR}\nn_time_bins = 24',
    "to_timesurface": f'op = "to_timesurface"\n{SENSOR}\ndt = 20000\ntau = 30000',
    "to_averaged_timesurface": f'op = "to_averaged_timesurface"\n{SENSOR}\ncell_size = 8\ntime_window = 20000\ntau = 10000',
    "to_bina_rep": f'op = "to_frame"\n{SENSOR}\nn_time_bins = 32\n[[transform]]\nop = "to_bina_rep"\nn_frames = 4',
}


def built(folder: Path, operation: str) -> dict[str, FeatureSet]:
    """Return the sets of the recordings in ``folder / "data"``."""
    head = 'name = "real"\n[source]\ndataset = "folder"\non_error = "skip"\n[source.folder]\n'
    pattern = 'pattern = "{split}/{label}/user{user}_*.npy"\n[[transform]]\n'
    recipe = folder / f"{operation}.toml"
    recipe.write_text(head + pattern + OPERATIONS[operation])
    options = BuildOptions(workers=0)
    return preprocess(recipe, data=folder / "data", store=folder / operation, options=options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("real")
    write_recordings(folder / "data")
    return folder


@pytest.fixture(scope="module")
def sets(folder: Path) -> dict[str, FeatureSet]:
    return built(folder, "to_voxel_grid")


@pytest.fixture(scope="module")
def report(sets: dict[str, FeatureSet], folder: Path) -> Report:
    return make_report("real", sets, data=folder / "data")


def frames(features: FeatureSet) -> dict[int, Any]:
    """Return the dense frames of all rows that were not skipped."""
    skipped = {row.row for row in features.manifest.skipped}
    return {row: features.frames(row).astype(np.float64) for row in range(len(features)) if row not in skipped}  # fmt: skip


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_operation_has_a_report(folder: Path, operation: str) -> None:
    document = make_report("real", built(folder, operation)).document
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert (document["real_numbers"], document["values"]) == (operation, [])
    for split, lost in document["losses"].items():
        non_zeros = sum(row["non_zeros"] for row in document["real_values"] if row["split"] == split)
        assert non_zeros == lost["non_zeros"] > 0
    is_signed = any(row["from"] < 0 for row in document["real_values"])
    assert is_signed == (operation == "to_voxel_grid")


def test_events_are_not_compared_with_values(report: Report) -> None:
    lost = report.document["losses"]["train"]
    assert {name for name, number in lost.items() if number is None} == {"counted", "clipped", "merged", "at_maximum"}  # fmt: skip
    assert (lost["read"], lost["in_no_bin"]) == (12 * 900, 12)  # the last event of each recording
    widths = report.document["bin_widths"]
    assert widths["results"] == []
    assert (
        widths["missing"]
        == "with to_voxel_grid, the values of wider bins are not sums of the values of narrower bins"
    )
    assert {row["measure"] for row in report.document["distributions"]} == {
        "sum of absolute values",
        "mean absolute value",
        "non-zeros",
        "length",
        "density",
    }


def test_sums_are_those_of_absolute_values(report: Report, sets: dict[str, FeatureSet]) -> None:
    dense = {split: frames(features) for split, features in sets.items()}
    for split, by_row in dense.items():
        sums = [np.abs(one).sum() for one in by_row.values()]
        means = [np.abs(one).sum() / np.count_nonzero(one) for one in by_row.values()]
        found = {
            row["measure"]: row["median"]
            for row in report.document["distributions"]
            if row["split"] == split and row["class"] == "all classes"
        }
        assert found["sum of absolute values"] == pytest.approx(np.median(sums))
        assert found["mean absolute value"] == pytest.approx(np.median(means))
    by_site = np.mean([np.abs(one).sum(axis=0) for rows in dense.values() for one in rows.values()], axis=0)
    assert np.allclose(report.document["sites"]["mean_absolute_sum"], by_site)
    first = report.document["gallery"][0]
    assert first["absolute_sum"] == pytest.approx(np.abs(dense[first["split"]][first["row"]]).sum())


def test_the_distribution_of_the_values(report: Report, sets: dict[str, FeatureSet]) -> None:
    for split, features in sets.items():
        values = np.concatenate([one[one != 0] for one in frames(features).values()])
        rows = [row for row in report.document["real_values"] if row["split"] == split]
        assert rows[0]["from"] == -rows[-1]["to"]
        assert max(one.manifest.max_value for one in sets.values()) == rows[-1]["to"]
        for row in rows[:-1]:
            assert row["non_zeros"] == ((values >= row["from"]) & (values < row["to"])).sum()


def test_the_read_out_sees_the_sign(report: Report, sets: dict[str, FeatureSet]) -> None:
    from spikestore.pipeline.reporting.facts.linear import PARTS, Inputs, site_groups
    from spikestore.pipeline.reporting.facts.scan import Piece

    features = sets["train"]
    inputs = Inputs(features.layout.sites, 3).of(Piece(0, features.read(), features.layout.site_count))
    groups = site_groups(features.layout.sites, 128)
    for row, one in frames(features).items():
        parts = one.reshape(PARTS, 3, -1).sum(axis=1)
        sums = np.zeros((PARTS, groups.number))
        np.add.at(sums.T, groups.group, parts.T)
        expected = np.sign(sums) * np.log1p(np.abs(sums))
        np.testing.assert_allclose(inputs[row].reshape(sums.shape), expected, rtol=1e-4, atol=1e-6)
    assert inputs.min() < 0
    assert report.document["linear"]["tests"][0]["samples"] == 6


def test_pictures_have_the_colours_of_the_signs(report: Report, sets: dict[str, FeatureSet]) -> None:
    image = pytest.importorskip("PIL.Image")
    from spikestore.pipeline.reporting.page.gallery import figures

    features = sets["train"]
    figure = figures(
        report.gallery, report.document["gallery"], features.layout, None, unit="bins", is_real=True
    )[0]
    data: Any = figure.frames.data.removeprefix("data:image/png;base64,")
    pixels = np.array(image.open(io.BytesIO(base64.b64decode(data))).convert("RGBA")).astype(int)
    drawn = frames(sets[figure.about["split"]])[figure.about["row"]]
    pairs = drawn.reshape(12, 2, 16, 24).sum(axis=1).reshape(-1, 24)  # 12 frames at most
    assert figure.note == "each frame is the sum of 2 bins"
    assert np.array_equal(pixels[..., 3] > 0, pairs != 0)
    blue, red = pixels[..., 2] > pixels[..., 0], pixels[..., 0] > pixels[..., 2]
    assert np.array_equal(blue & (pixels[..., 3] > 0), pairs > 0)
    assert np.array_equal(red & (pixels[..., 3] > 0), pairs < 0)
    levels = np.ceil(np.abs(pairs) / np.abs(pairs).max() * 15)  # the opacity is proportional, from 80 to 255
    assert np.array_equal(pixels[..., 3], np.where(levels, np.round(80 + 175 * levels / 15), 0))


@pytest.mark.slow  # the script of the charts may have to be bundled
@pytest.mark.parametrize("operation", ["to_voxel_grid", "to_averaged_timesurface"])
def test_the_page_says_what_it_leaves_out(folder: Path, operation: str) -> None:
    pytest.importorskip("PIL")
    pytest.importorskip("vl_convert")
    from spikestore.pipeline.reporting.page.page import page_of

    found = built(folder, operation)
    page = page_of(make_report("real", found), found["train"].layout, "<!-- mark -->")
    assert (
        f"The values are real numbers of <code>{operation}</code>. Therefore this page has no merged" in page
    )
    assert ("above 0" in page) == (operation == "to_voxel_grid")
    assert ("polarity 1" in page) == (operation == "to_averaged_timesurface")
    assert ("0 to 1 cells" in page) == (operation == "to_averaged_timesurface")
    assert "# float32 (time, polarity, y, x)" in page
    for absent in (">merged<", ">clipped<", "Events in one cell", "Without any event"):
        assert absent not in page
