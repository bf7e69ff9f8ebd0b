"""The shipped recipes of publications: each gives the frames of the publication's own rule, written out here."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from tests.pipeline.cochlea_files import SPLITS, write_file
from tests.pipeline.event_files import write_dvsgesture
from tests.pipeline.fused_cases import rows
from tests.pipeline.small_data_sets import WRITE
from tests.pipeline.spikingjelly_rules import by_duration, by_number
from tests.pipeline.tonic_cases import dense

from spikestore.pipeline import BuildOptions, preprocess
from spikestore.pipeline.commands.recipes import recipes
from spikestore.pipeline.readers import event_block
from spikestore.pipeline.readers.cochlea_files.cochlea_block import float16_table
from spikestore.pipeline.readers.event_block import EventBlock
from spikestore.pipeline.readers.recording import Recording
from spikestore.pipeline.recipes.recipe import load_recipe
from spikestore.pipeline.recipes.shipped import (
    PAPERS,
    choose_recipe,
    is_shipped,
    paper_recipes,
    shipped_recipes,
)
from spikestore.pipeline.sources.source_files import make_source
from spikestore.pipeline.transforms.choose import OneByOne
from spikestore.pipeline.transforms.fused import FusedChain
from spikestore.pipeline.transforms.numpy_chain import NumpyChain
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


def digitize(steps: int, latest: float, summed: int) -> Rule:
    """``np.digitize`` into 1-based bins, and sums of neighbouring channels; an event beyond the latest time is left out here."""

    def rule(seconds: npt.NDArray[np.float16], channels: npt.NDArray[np.uint16]) -> Frames:
        bins = np.digitize(seconds, np.linspace(0, latest, num=steps))
        counts = np.zeros((steps + 1, 700), np.int64)
        np.add.at(counts, (bins, channels), 1)
        frames: Frames = counts[:steps].reshape(steps, -1, summed).sum(axis=2)
        return frames

    return rule


def of_tonic(seconds: npt.NDArray[np.float16], channels: npt.NDArray[np.uint16]) -> Frames:
    """Tonic's times, ``Downsample(1e-3, 0.2)`` and ``ToFrame(time_window=4)``, whose last window is complete; no events are one empty bin here."""
    t = ((seconds.astype(np.float64) * 1e6).astype(np.int64) * 1e-3).astype(np.int64)
    x = (channels * 0.2).astype(np.int64)
    bins = max((t[-1] - t[0] - 4) // 4 + 1, 1) if len(t) else 1
    frames = np.zeros((bins, 140), np.int64)
    place = (t - t[:1]) // 4
    np.add.at(frames, (place[place < bins], x[place < bins]), 1)
    return frames


def ten_milliseconds(seconds: npt.NDArray[np.float16], channels: npt.NDArray[np.uint16]) -> Frames:
    """SpikingJelly with ``duration=10``, then sums of 5 neighbouring channels; no events are one empty bin here."""
    if not len(seconds):
        return np.zeros((1, 140), np.int64)
    frames: Frames = by_duration(seconds, channels, 700, 10_000).reshape(-1, 140, 5).sum(axis=2)
    return frames


def former_frames(seconds: npt.NDArray[np.float16], milliseconds: int) -> npt.NDArray[np.int64]:
    """Return the frame of each event by the rule of SpikingJelly before 2024-03-30, with which DCLS was published."""
    t, frames, first = 1000 * seconds, np.zeros(len(seconds), np.int64), 0
    for event, time in enumerate(t):
        if event and time - t[first] > milliseconds:
            frames[event:] += 1
            first = event
    return frames


RULES: dict[str, tuple[str, Rule]] = {
    "asrc-ssc": ("SSC", digitize(250, 1.4, 5)),
    "dcls-shd": ("SHD", ten_milliseconds),
    "dcls-ssc": ("SSC", ten_milliseconds),
    "delrec-shd": ("SHD", ten_milliseconds),
    "delrec-ssc": ("SSC", digitize(250, 1.4, 5)),
    "se-adlif-shd": ("SHD", of_tonic),
    "se-adlif-ssc": ("SSC", of_tonic),
    "silif-shd": ("SHD", digitize(250, 1.0, 5)),
    "silif-ssc": ("SSC", digitize(300, 1.2, 5)),
    "sparch-shd": ("SHD", digitize(100, 1.4, 1)),
    "sparch-ssc": ("SSC", digitize(100, 1.4, 1)),
    "spikcommander-shd": ("SHD", ten_milliseconds),
    "spikcommander-ssc": ("SSC", ten_milliseconds),
    "spikescr-shd": ("SHD", ten_milliseconds),
    "spikescr-ssc": ("SSC", ten_milliseconds),
    "spyx-shd": ("SHD", spyx),
}
"""Data set and rule of each recipe for recordings of a cochlea."""

CAMERAS = {
    "plif-cifar10dvs": ("CIFAR10DVS", 20, 128, 128),
    "plif-dvsgesture": ("DVSGesture", 20, 128, 128),
    "sew-resnet-dvsgesture": ("DVSGesture", 16, 128, 128),
    "spikformer-cifar10dvs": ("CIFAR10DVS", 16, 128, 128),
    "tcja-ncaltech101": ("NCALTECH101", 14, 240, 180),
}
"""Data set, ``frames_number`` (split by number), width and height of each recipe for recordings of a camera."""


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


@pytest.mark.parametrize("name", RULES)
def test_transform_is_the_rule(name: str) -> None:
    """NumPy and the compiled pass give the frames of the rule for every recording."""
    drawn = recordings(9, 0)
    offsets = np.cumsum([0, *(len(seconds) for seconds, _ in drawn)])
    block = EventBlock(
        first_row=0,
        offsets=offsets,
        t=np.concatenate([seconds for seconds, _ in drawn]).view(np.uint16),
        time_table=float16_table(),
        x=np.concatenate([channels for _, channels in drawn]),
        y=None,
        p=None,
        labels=np.zeros(len(drawn), np.int64),
        extras={},
        errors={},
    )
    transform = load_recipe(paper_recipes()[name]).transform_spec()
    _, rule = RULES[name]
    for chain in (OneByOne(NumpyChain(transform, has_y=False)), FusedChain(transform, has_y=False)):
        for sample, (seconds, channels) in zip(rows(chain(block, name_of=str)), drawn, strict=True):
            assert np.array_equal(dense(sample, transform.to_frame.sensor_size[0]), rule(seconds, channels))


def test_former_rule_of_dcls_differs_as_documented() -> None:
    """The numbers in docs/recipes.md hold for every float16 time up to 1.4 s."""
    (every, _) = recordings(3, 0)[-1]
    every = every[every <= np.float16(1.4)]
    former = former_frames(every, 10)
    frames = by_duration(every, np.arange(len(every)), len(every), 10_000).argmax(axis=0)
    assert (len(every), former[-1] + 1, frames[-1] + 1) == (15_771, 134, 140)
    assert np.count_nonzero(former != frames) == 2_144


@pytest.mark.slow
@pytest.mark.parametrize("name", RULES)
def test_built_frames_are_those_of_the_rule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Every recording of every split has the frames of the rule, and the set states the paper."""
    monkeypatch.setattr(event_block, "FEW_EVENTS", 10**9)
    dataset, rule = RULES[name]
    splits = load_recipe(paper_recipes()[name]).source.splits or SPLITS[dataset]
    drawn = {split: recordings(5, seed) for seed, split in enumerate(splits)}
    for split, some in drawn.items():
        write_file(tmp_path / dataset / f"{dataset.lower()}_{split}.h5", some)
    store, options = Store(tmp_path / "store"), BuildOptions(workers=0)
    built = preprocess(paper_recipes()[name], data=tmp_path / dataset, store=store, options=options)
    for split, some in drawn.items():
        features = built[split]
        assert features.manifest.provenance["citation"] == load_recipe(paper_recipes()[name]).citation
        for row, (seconds, channels) in enumerate(some):
            assert np.array_equal(features.frames(row)[:, 0], rule(seconds, channels)), (split, row)


@pytest.mark.slow
@pytest.mark.parametrize("name", CAMERAS)
def test_built_frames_of_cameras_are_those_of_the_rule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The events that the reader returns are divided into frames as SpikingJelly divides them."""
    monkeypatch.setattr(event_block, "FEW_EVENTS", 10**9)
    dataset, bins, width, height = CAMERAS[name]
    if dataset == "CIFAR10DVS":
        pytest.importorskip("aedat")
    folder = write_dvsgesture(tmp_path) if dataset == "DVSGesture" else WRITE[dataset](tmp_path)
    recipe, store = paper_recipes()[name], Store(tmp_path / "store")
    built = preprocess(recipe, data=folder, store=store, options=BuildOptions(workers=0))
    for split, features in built.items():
        with make_source(dataset, split, folder).open() as reader:
            recorded = reader.read(0, len(reader))
        assert features.manifest.samples == len(recorded) > 0
        for row, recording in enumerate(recorded):
            assert isinstance(recording, Recording)
            t, x, y, p = (recording.events[field].astype(np.int64) for field in "txyp")
            frames = by_number(t, (p * height + y) * width + x, 2 * height * width, bins)
            assert np.array_equal(features.frames(row), frames.reshape(bins, 2, height, width)), (split, row)


def test_each_states_its_paper() -> None:
    """The folder has the recipes of `PAPERS`; each has a citation, its file's name, and is found by it."""
    folder = Path(__file__).parents[3] / "recipes/papers"
    assert sorted(path.stem for path in folder.glob("*.toml")) == sorted(PAPERS) == sorted([*RULES, *CAMERAS])
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
