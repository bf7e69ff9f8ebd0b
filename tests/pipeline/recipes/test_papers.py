"""The shipped recipes of publications: each gives the frames of the publication's own rule, written out here."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pytest
from tests.pipeline.cochlea_files import SPLITS, write_file

from spikestore.pipeline import BuildOptions, preprocess
from spikestore.pipeline.commands.recipes import recipes
from spikestore.pipeline.readers import event_block
from spikestore.pipeline.recipes.recipe import load_recipe
from spikestore.pipeline.recipes.shipped import (
    PAPERS,
    choose_recipe,
    is_shipped,
    paper_recipes,
    shipped_recipes,
)
from spikestore.store.cli.commands.show import show
from spikestore.store.store import Store

Frames = npt.NDArray[np.int64]
Rule = Callable[[npt.NDArray[np.float16], npt.NDArray[np.uint16]], Frames]
"""Times in s and channels of a recording to frames, shape (time, channel)."""


def spyx(seconds: npt.NDArray[np.float16], channels: npt.NDArray[np.uint16]) -> Frames:
    """Spyx's ``loaders.SHD_loader(sample_T=128, channels=128)``: Tonic's times and Downsample, then its raster."""
    bins, net_dt = 128, 1 / 128
    t = (seconds.astype(np.float64) * 1e6).astype(np.int64)
    t = (t * (1e-6 / net_dt)).astype(np.int64)
    x = (channels.astype(np.int64) * (128 / 700)).astype(np.int64)
    counts = np.zeros((max(bins, t.max(initial=0) + 1), 128), np.int64)
    np.add.at(counts, (t, x), 1)
    return np.minimum(counts[:bins], 1)


def sparch(seconds: npt.NDArray[np.float16], channels: npt.NDArray[np.uint16]) -> Frames:
    """Sparch's ``SpikingDataset`` with 100 steps: 1-based bins of float16 times; an event beyond 1.4 s is left out here."""
    bins = np.digitize(seconds, np.linspace(0, 1.4, num=100))
    counts = np.zeros((101, 700), np.int64)
    np.add.at(counts, (bins, channels), 1)
    return counts[:100]


RULES: dict[str, tuple[str, Rule]] = {
    "sparch-shd": ("SHD", sparch),
    "sparch-ssc": ("SSC", sparch),
    "spyx-shd": ("SHD", spyx),
}


def recordings(count: int, seed: int) -> list[tuple[npt.NDArray[np.float16], npt.NDArray[np.uint16]]]:
    """Return recordings with float16 times between 0 and 1.4 s, edges of bins among them.

    The first one is empty, and the last one has every float16 from 0 to 1.4 s.
    """
    rng = np.random.default_rng(seed)
    edges = np.arange(180) / 128
    near = np.concatenate([edges, np.nextafter(edges.astype(np.float16), np.float16(0))])
    drawn = []
    for length in (0, 1, *rng.integers(2, 900, count - 2)):
        times = np.where(rng.random(length) < 0.3, rng.choice(near, length), rng.random(length) * 1.4)
        drawn.append((np.sort(times.astype(np.float16)), rng.integers(0, 700, length).astype(np.uint16)))
    every = np.arange(2**14, dtype=np.uint16).view(np.float16)
    every = every[every < np.float16(1.41)]
    return [*drawn, (every, np.arange(len(every), dtype=np.uint16) % np.uint16(700))]


@pytest.mark.parametrize("name", PAPERS)
@pytest.mark.parametrize(("requested", "executor"), [("auto", "numpy"), ("fused", "fused")])
def test_frames_are_those_of_the_rule(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    requested: Literal["auto", "fused"],
    executor: str,
) -> None:
    """Every recording of every split has the frames of the rule, with every executor."""
    monkeypatch.setattr(event_block, "FEW_EVENTS", 10**9)
    dataset, rule = RULES[name]
    drawn = {split: recordings(9, seed) for seed, split in enumerate(SPLITS[dataset])}
    for split, some in drawn.items():
        write_file(tmp_path / dataset / f"{dataset.lower()}_{split}.h5", some)
    store = Store(tmp_path / "store")
    built = preprocess(
        paper_recipes()[name],
        data=tmp_path / dataset,
        store=store,
        options=BuildOptions(workers=0, executor=requested),
    )
    for split, some in drawn.items():
        features = built[split]
        assert features.manifest.provenance["executor"] == executor
        assert features.manifest.provenance["citation"] == load_recipe(paper_recipes()[name]).citation
        for row, (seconds, channels) in enumerate(some):
            assert np.array_equal(features.frames(row)[:, 0], rule(seconds, channels)), (split, row)


def test_each_states_its_paper() -> None:
    """The folder has the recipes of `PAPERS`; each has a citation, its file's name, and is found by it."""
    folder = Path(__file__).parents[3] / "recipes/papers"
    assert sorted(path.stem for path in folder.glob("*.toml")) == sorted(PAPERS) == sorted(RULES)
    for name, path in paper_recipes().items():
        recipe = load_recipe(path)
        assert recipe.citation
        assert recipe.name == name
        assert choose_recipe(name, None) == path
        assert is_shipped(path)


def test_citation_and_licence_change_no_key(tmp_path: Path) -> None:
    """The transform of a recipe has the same key without them."""
    path = paper_recipes()["spyx-shd"]
    text = path.read_text(encoding="utf-8")
    plain = tmp_path / "plain.toml"
    plain.write_text("\n".join(line for line in text.splitlines() if not line.startswith("citation")))
    other = tmp_path / "other.toml"
    other.write_text('licence = "CC BY 4.0"\n' + text)
    keys = {load_recipe(each).transform_spec().key for each in (path, plain, other)}
    assert len(keys) == 1
    assert load_recipe(plain).citation is None
    assert load_recipe(other).licence == "CC BY 4.0"


def test_recipes_lists_them(capsys: pytest.CaptureFixture[str]) -> None:
    """``spikestore recipes`` has a line for each shipped recipe, with its data set and its paper."""
    recipes(as_json=True)
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert list(rows) == [*shipped_recipes(), *PAPERS]
    assert rows["spyx-shd"]["dataset"] == "SHD"
    assert "2402.18994" in rows["spyx-shd"]["citation"]
    assert rows["ssc"]["citation"] is None
    recipes(as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert any("dvsgesture" in line and "DVSGesture" in line for line in lines)
    assert any("spyx-shd" in line and "Heckel" in line for line in lines)


def test_show_prints_citation_and_licence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They are in the manifest of a new set, beside the licence; a recipe without them records nothing."""
    write_file(tmp_path / "SHD/shd_train.h5", recordings(4, 0))
    text = paper_recipes()["spyx-shd"].read_text(encoding="utf-8").replace('"train", "test"', '"train"')
    for name, head in (("with", 'licence = "CC BY 4.0"\n'), ("without", "")):
        lines = text.splitlines() if head else [line for line in text.splitlines() if "citation" not in line]
        recipe = tmp_path / f"{name}.toml"
        recipe.write_text(head + "\n".join(lines), encoding="utf-8")
        store = Store(tmp_path / f"{name}_store")
        preprocess(recipe, data=tmp_path / "SHD", store=store, options=BuildOptions(workers=0))
        show(name="spyx-shd:train", store=str(tmp_path / f"{name}_store"))
        printed = " ".join(capsys.readouterr().out.split())
        assert ("citation Heckel and Nowotny, Spyx: A Library" in printed) == bool(head)
        assert ("licence CC BY 4.0" in printed) == bool(head)
