"""The seed's experiment runs through its command on a few recordings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from benchmarks.seed.epochs import scaled_up
from tests.benchmarks.bench_runs import bench

WAYS = ("naive", "disk_cached", "sparse_list", "stream", "host", "device", "nothing")


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the page and the JSON of two batches of 8, and 4 recordings left out."""
    folder = tmp_path_factory.mktemp("seed")
    what = ("--samples", "20", "--batch", "8", "--rounds", "2", "--threads", "1", "--rows", "fused")
    done = bench("seed", *what, "--page", folder / "page", "--json", folder / "seed.json")
    assert done.returncode == 0, done.stderr
    assert "whole_epoch_store_fused_vs_naive_sinabs" in done.stdout
    return folder


@pytest.fixture(scope="module")
def document(folder: Path) -> Any:
    """Return the JSON."""
    return json.loads((folder / "seed.json").read_text())


def test_every_way_of_loading_has_a_row(document: Any) -> None:
    """Each requested cell has a row, and so has naive loading with Sinabs, the base of all ratios; EXODUS has the reason why it is absent."""
    rows = {row["name"]: row for row in document["rows"]}
    cells = ["naive_sinabs", *(f"{way}_fused" for way in WAYS)]
    assert list(rows) == [*cells, "exodus", "whole_epoch_store_fused_vs_naive_sinabs"]
    assert "skipped" in rows.pop("exodus")
    assert rows["naive_sinabs"]["value"] == 1
    for name in cells:
        row = rows[name]
        assert 0 < row["low"] <= row["value"] <= row["high"]
        assert row["ours"]["batches run"] == 2
        assert row["ours"]["samples/s"] == pytest.approx(16 / row["ours"]["s/epoch"])
        assert 0 <= row["ours"]["share waiting"] < 1
    assert rows["nothing_fused"]["ours"]["share waiting"] < 0.1
    whole = rows["whole_epoch_store_fused_vs_naive_sinabs"]
    assert (whole["value"], whole["target"], whole["stretch"]) == (rows["host_fused"]["value"], 10, 14)
    assert document["data"]["samples"] == 20
    assert document["data"]["batches"] == 2


def test_page_and_plots(folder: Path, document: Any) -> None:
    """The page holds the numbers and points to both plots, which are small."""
    page = (folder / "page" / "seed.md").read_text()
    assert str(folder) not in page
    assert "`python -m benchmarks.seed --samples 20 --batch 8 --rounds 2 --rows fused`" in page
    assert "(a smaller last batch of 4 is left out)" in page
    for row in document["rows"]:
        if "batches run" in row.get("ours", {}):
            assert f"{row['ours']['s/epoch']:.3g} (" in page
    for name in ("seed-epochs.png", "seed-sample.png"):
        assert f"]({name})" in page
        drawn = (folder / "page" / name).read_bytes()
        assert drawn.startswith(b"\x89PNG")
        assert len(drawn) < 100_000


def test_an_epoch_that_is_cut_short_is_scaled_up() -> None:
    """The time of a whole epoch is extrapolated correctly, whether workers or the network limit the speed."""
    # Two workers that take 2 s for a batch each, and a network that takes no time: two batches every 2 s.
    assert scaled_up(2.0, 6.0, 6, 16, at_once=2) == 16
    # A network that takes 1 s for a batch; the first batch arrives after 0.5 s.
    assert scaled_up(2.5, 3.5, 3, 15, at_once=2) == 15.5
    assert scaled_up(0.0, 3.5, 15, 15, at_once=2) == 3.5


def test_too_few_samples_are_refused() -> None:
    """Fewer samples than a batch would make an empty epoch."""
    done = bench("seed", "--samples", "7", "--batch", "8")
    assert done.returncode == 1
    assert "7 samples are no batch of 8" in done.stderr
