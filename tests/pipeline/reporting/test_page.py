"""The page: its pictures, its texts, and the command that writes it."""

from __future__ import annotations

import base64
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tests.store.small_sets import small_set

from spikestore.pipeline.reporting import write_page as writing
from spikestore.pipeline.reporting.facts.bin_widths import coarser
from spikestore.pipeline.reporting.facts.observers import KeptSample
from spikestore.store import Store
from spikestore.store.cli.main import main
from spikestore.store.machine import user_cache_folder
from spikestore.store.storage import FolderStorage

pytest.importorskip("PIL")
vl_convert = pytest.importorskip("vl_convert")

EXTRAS = ("n_events", "n_cropped", "n_dropped")


@pytest.fixture(autouse=True)
def _short_script(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace Vega-Lite, which takes seconds to bundle; test_browser.py uses it."""
    monkeypatch.setattr("spikestore.pipeline.reporting.page.page.vega_script", lambda: "/* charts */")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the path of a store with a set."""
    folder = tmp_path_factory.mktemp("store")
    storage = FolderStorage(folder)
    small = small_set(extras=EXTRAS)
    hostile = "</script><b>x & y"
    layout = small.layout.model_copy(update={"classes": (hostile, "no")})
    Store(storage).point("small", {"train": replace(small, layout=layout).build(storage)})
    return str(folder)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder, in which commands run."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_command_writes_a_page(folder: Path, store: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A name of a class cannot end the script; the page refers to nothing outside; a second report would replace it."""
    assert main(["report", "small", "--store", store]) == 0
    assert "small-report.html" in capsys.readouterr().err
    page = (folder / "small-report.html").read_text(encoding="utf-8")
    assert "<b>x" not in page
    assert "&lt;b&gt;x &amp; y" in page
    assert re.findall(r"(?:src|href)=\"(?!data:|#)[^\"]*", page) == []
    charts = re.search(r'id="charts">(.*?)</script>', page, re.DOTALL)
    assert charts is not None
    assert {"losses", "classes", "costs"} <= json.loads(charts[1]).keys()
    assert [path.name for path in folder.iterdir()] == ["small-report.html"]
    assert writing.page_file("small-report.html") == folder / "small-report.html"


def test_a_page_of_many_classes_stays_small(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Charts show the first 120 classes that have samples; the facts have all of them, but no matrix of 2,000 classes."""
    small = small_set(extras=EXTRAS)
    label = np.where(small.truth.label < 0, -1, 1500 + np.arange(len(small)) % 400).astype(np.int32)
    small = replace(
        small,
        layout=small.layout.model_copy(update={"classes": tuple(f"class {n}" for n in range(2000))}),
        truth=replace(small.truth, label=label),
    )
    storage = FolderStorage(folder / "store")
    Store(storage).point("many", {"train": small.build(storage)})
    assert main(["report", "many", "--store", "store", "--json", "--out", "many.html"]) == 0
    facts = json.loads(capsys.readouterr().out)
    page = (folder / "many.html").read_text(encoding="utf-8")
    found = re.search(r'id="charts">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    charts = json.loads(found[1])
    shown = [row["class"] for row in charts["classes"]["data"]["values"]]
    assert shown == [f"class {number}" for number in np.unique(label[label >= 0])[:120]]
    assert {row["class"] for row in charts["distribution-length"]["data"]["values"]} == {*shown}
    assert [name for name in charts if name.startswith("confusion")] == []
    assert "The confusion matrix is too large for this page." in page
    (test,) = facts["linear"]["tests"]
    assert (len(facts["classes"]), test["confusion"], test["largest_class"]) == (
        2000,
        None,
        1 / test["samples"],
    )


def test_the_script_of_charts_is_bundled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from spikestore.pipeline.reporting.page import charts
    from spikestore.pipeline.reporting.page.vega_script import vega_script

    versions: list[str] = []

    def bundle(snippet: str, version: str) -> str:
        versions.append(version)
        return f"/* {version} */"

    monkeypatch.setattr(vl_convert, "javascript_bundle", bundle)
    for version in ("6.3", "6.5"):
        monkeypatch.setattr(charts, "VERSION", version)
        assert [vega_script() for _ in range(2)] == [f"/* {version} */"] * 2
    assert versions == ["6.3", "6.5"]
    cache = user_cache_folder()
    assert cache is not None
    (damaged,) = cache.rglob("*6.5*.js")
    damaged.write_bytes(b"\xff")
    assert [vega_script() for _ in range(2)] == ["/* 6.5 */"] * 2
    assert versions == ["6.3", "6.5", "6.5"]
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")
    assert vega_script() == "/* 6.5 */"
    assert versions == ["6.3", "6.5", "6.5", "6.5"]


def test_json_needs_no_extra(
    folder: Path, store: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "find_spec", lambda name: None)
    assert main(["report", "small:train", "--store", store, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["identity"]["name"] == "small:train"
    assert main(["report", "small", "--store", store]) == 2
    assert "pip install 'spikestore[report]'" in capsys.readouterr().err
    assert [*folder.iterdir()] == []


def test_other_files_are_not_replaced(folder: Path, store: str, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "notes.html").write_text("my notes")
    for out, words in (
        ("notes.html", "is not a report of spikestore"),
        (".", "is a folder"),
        ("a/b", "does not exist"),
        ("notes.html/b", "is inside a file"),
    ):
        assert main(["report", "small", "--store", store, "--out", out]) == 2
        assert words in capsys.readouterr().err
    assert (folder / "notes.html").read_text() == "my notes"


def test_a_full_disk_names_the_page(folder: Path, store: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A write fails without the name of its file, here because files may have 2,000 bytes."""
    resource = pytest.importorskip("resource")
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, former[1]))
    try:
        assert main(["report", "small", "--store", store]) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)
    page = folder / "small-report.html"
    assert f"spikestore: error: {page}: File too large" in capsys.readouterr().err
    assert [*folder.iterdir()] == []


def test_recordings_that_are_not_there(folder: Path, store: str, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "data").mkdir()
    assert main(["report", "small", "--store", store, "--data", "data"]) != 0
    assert "ssc_train.h5" in capsys.readouterr().err


_COUNTS = arrays.arrays(np.float64, arrays.array_shapes(min_dims=2, max_dims=2), elements=st.integers(0, 300))


@given(_COUNTS, st.booleans())
def test_only_a_count_of_0_is_transparent(counts: np.ndarray, two: bool) -> None:
    """A larger count is at least as opaque; each polarity keeps its colour."""
    from PIL import Image

    from spikestore.pipeline.reporting.page.pictures import OFF, ON, picture

    off = counts[::-1] if two else None
    data = picture(counts, off).removeprefix("data:image/png;base64,")
    pixels = np.array(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGBA")).astype(int)
    both = np.maximum(counts, 0 if off is None else off)
    assert np.array_equal(pixels[..., 3] > 0, both > 0)
    order = np.argsort(both, axis=None)
    assert (np.diff(pixels[..., 3].ravel()[order]) >= 0).all()
    only_on = (counts > 0) & (True if off is None else off == 0)
    assert (pixels[only_on][:, :3] == ON).all()
    if off is not None:
        assert (pixels[(counts == 0) & (off > 0)][:, :3] == OFF).all()


@given(
    arrays.arrays(np.float64, arrays.array_shapes(min_dims=2, max_dims=2), elements=st.integers(0, 3)),
    st.integers(1, 5),
)
def test_coarser_bins(dense: np.ndarray, factor: int) -> None:
    index = np.flatnonzero(dense)
    sample = KeptSample(0, index, dense.reshape(-1)[index], len(dense), 0)
    found = coarser(sample, factor, dense.shape[1])
    sums = np.add.reduceat(dense, np.arange(0, len(dense), factor))
    again = np.zeros(sums.size)
    again[found.index] = found.value
    assert found.n_bins == len(sums)
    assert np.array_equal(again.reshape(sums.shape), sums)
