"""The page in a real browser: it fetches nothing, reports nothing on the console, and charts have axes, a slider and themes that work."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import urllib.parse
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.store.small_sets import memory_storage, small_set

from spikestore.pipeline import preprocess
from spikestore.pipeline.building.options import BuildOptions
from spikestore.pipeline.reporting.report import make_report
from spikestore.pipeline.reporting.write_page import write_page
from spikestore.store import FeatureSet

pytest.importorskip("PIL")
pytest.importorskip("vl_convert")

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no chromium: apt install chromium"),
]


@pytest.fixture(autouse=True)
def _one_cache(
    _own_cache: None, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Share a cache, so that the script of the charts is bundled once."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "browser-cache"))


RECIPE = """
name = "cameras"
[source]
dataset = "folder"
on_error = "skip"
[source.folder]
pattern = "{split}/{label}/user{user}_*.npy"
[[transform]]
op = "to_frame"
sensor_size = [24, 16, 2]
time_window = 20000
"""

PROBE = """
<script>
addEventListener("load", async () => {
  const problems = [];
  addEventListener("unhandledrejection", (event) => problems.push(String(event.reason)));
  const wait = () => new Promise((done) => setTimeout(done, 50));
  const all = [...document.querySelectorAll("[data-chart]")];
  const drawn = (place) => place.view && place.querySelector("svg.marks, canvas.marks");
  const until = async (test) => { for (let n = 0; n < 200 && !test(); n++) await wait(); return test(); };
  const first = await until(() => all.filter((place) => place.offsetWidth).every(drawn));
  document.querySelectorAll("details").forEach((part) => { part.open = true; });
  const opened = await until(() => all.every(drawn));
  const titles = Object.fromEntries(all.map((place) => [place.dataset.chart,
    Object.values(place.view.vgSpec.axes ?? []).map((axis) => axis.title).filter(Boolean)]));
  const before = [getComputedStyle(document.body).backgroundColor, all[0].querySelector("text").getAttribute("fill")];
  document.getElementById("theme").click();
  await wait();
  await until(() => all.every(drawn) && all[0].querySelector("text").getAttribute("fill") !== before[1]);
  const after = [getComputedStyle(document.body).backgroundColor, all[0].querySelector("text").getAttribute("fill")];
  const slider = document.querySelector(".slider input");
  const frames = [];
  for (const value of slider ? ["0", slider.max] : []) {
    slider.value = value;
    slider.dispatchEvent(new Event("input"));
    const large = slider.closest("figure").querySelector(".large");
    frames.push([getComputedStyle(large).backgroundPositionY, slider.parentElement.querySelector("output").textContent]);
  }
  const pictures = [...document.images].map((image) => image.complete && image.naturalWidth > 1);
  const fetched = performance.getEntriesByType("resource").map((entry) => entry.name).filter((name) => !name.startsWith("data:"));
  const wide = document.documentElement.scrollWidth > innerWidth;
  const result = { problems, first, opened, titles, before, after, frames, pictures, fetched, wide };
  document.body.insertAdjacentHTML("beforeend", `<pre id="probe"></pre>`);
  document.getElementById("probe").textContent = btoa(encodeURIComponent(JSON.stringify(result)));
});
</script>
"""


def probed(page: Path, width: int) -> tuple[dict[str, Any], list[str]]:
    """Return the results of the probe in a page in a window of this width, and the lines of the browser's console."""
    copy = page.with_name(f"probe-{width}.html")
    before, end, after = page.read_text(encoding="utf-8").rpartition("</body>")
    copy.write_text(before + PROBE + end + after, encoding="utf-8")
    flags = (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--enable-logging=stderr",
        "--virtual-time-budget=30000",
    )
    done = subprocess.run(
        [
            str(BROWSER),
            *flags,
            f"--user-data-dir={page.parent / f'profile-{width}'}",
            f"--window-size={width},900",
            "--dump-dom",
            f"file://{copy}",
        ],
        capture_output=True,
        text=True,
        timeout=180,
        check=True,
    )
    probe = re.search(r'<pre id="probe">([^<]+)</pre>', done.stdout)
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert probe is not None, console
    return json.loads(urllib.parse.unquote(base64.b64decode(probe[1]).decode())), console


def write_recordings(folder: Path) -> None:
    """Write recordings of a bar that moves left or right, and one that cannot be read."""
    rng = np.random.default_rng(0)
    for split, number in (("train", 6), ("test", 3)):
        for label in ("left", "right"):
            (folder / split / label).mkdir(parents=True)
            for one in range(number):
                t = np.sort(rng.integers(0, 400_000, 900))
                x = np.clip(t // 18_000 + rng.integers(0, 3, 900), 0, 23)
                events = np.zeros(900, [("t", "<i8"), ("x", "<i2"), ("y", "<i2"), ("p", "<i1")])
                events["t"], events["x"] = t, x if label == "right" else 23 - x
                events["y"], events["p"] = rng.integers(0, 16, 900), rng.integers(0, 2, 900)
                np.save(folder / split / label / f"user{one % 3}_{one}.npy", events)
    (folder / "train/left/user0_bad.npy").write_bytes(b"nothing")


def test_a_page_of_a_camera(tmp_path: Path) -> None:
    write_recordings(tmp_path / "data")
    (tmp_path / "r.toml").write_text(RECIPE)
    sets = preprocess(
        tmp_path / "r.toml", data=tmp_path / "data", store=tmp_path / "store", options=BuildOptions(workers=0)
    )
    report = make_report("cameras", sets, data=tmp_path / "data")
    assert report.document["skipped"]["count"] == 1
    assert {one["factor"] for one in report.document["bin_widths"]["results"]} > {0.25, 0.5, 1}
    size = write_page(report, sets["train"].layout, tmp_path / "page.html")
    assert size < 5_000_000
    found, console = probed(tmp_path / "page.html", 1280)
    assert console == []
    check(found)
    (begin, first), (end, last) = found["frames"]
    assert (begin, end) == ("0%", "100%")
    assert first.startswith("0 to ")
    assert last != first


@pytest.mark.parametrize(
    "operation",
    [
        'op = "to_voxel_grid"\nsensor_size = [24, 16, 2]\nn_time_bins = 10',
        'op = "to_averaged_timesurface"\nsensor_size = [24, 16, 2]\ncell_size = 8\ntime_window = 20000\ntau = 10000',
    ],
)
def test_a_page_of_real_numbers(tmp_path: Path, operation: str) -> None:
    write_recordings(tmp_path / "data")
    (tmp_path / "r.toml").write_text(f"{RECIPE.partition('op =')[0]}{operation}\n")
    options = BuildOptions(workers=0)
    sets = preprocess(tmp_path / "r.toml", data=tmp_path / "data", store=tmp_path / "store", options=options)
    write_page(
        make_report("cameras", sets, data=tmp_path / "data"), sets["train"].layout, tmp_path / "page.html"
    )
    found, console = probed(tmp_path / "page.html", 1280)
    assert console == []
    check(found)
    assert found["titles"]["values"] == ["value", "share of the non-zeros"]
    assert [position for position, _ in found["frames"]] == ["0%", "100%"]


def test_a_page_of_a_cochlea(tmp_path: Path) -> None:
    storage = memory_storage()
    extras = ("speaker", "n_events", "n_cropped", "n_dropped")
    sets: dict[str, FeatureSet] = {
        split: small_set(seed=seed, split=split, extras=extras).build(storage)
        for seed, split in enumerate(("train", "test"))
    }
    write_page(make_report("small", sets), sets["train"].layout, tmp_path / "page.html")
    found, console = probed(tmp_path / "page.html", 500)
    assert console == []
    check(found)
    assert len(found["pictures"]) >= 4


def check(found: dict[str, Any]) -> None:
    """Check the properties that both pages share."""
    assert found["problems"] == []
    assert found["fetched"] == []
    assert all(found["pictures"])
    assert not found["wide"]
    assert (found["first"], found["opened"]) == (True, True)
    assert all(len(titles) >= 2 for titles in found["titles"].values()), found["titles"]
    assert found["before"] != found["after"]
