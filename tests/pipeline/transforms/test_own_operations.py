"""Operations of other packages: the package of docs/recipes.md, and packages with faults."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.pipeline.tonic_cases import NAME, chain, recording

from spikestore.pipeline.demo.demo_data import write_demo_data
from spikestore.pipeline.transforms import own_operations
from spikestore.pipeline.transforms.choose import executor_for
from spikestore.store import Store
from spikestore.store_schemas import Downsample, OwnOperation, ToFrame, Transform
from spikestore.store_schemas.errors import RecordingError, UsageError

PAGE = Path(__file__).parents[3] / "docs" / "recipes.md"
FRAMES = ToFrame(sensor_size=(700, 1, 2), time_window=10.0, include_incomplete=True)
EVENTS = recording([3, 5, 5, 8, 30, 31], [4, 0, 1, 2, 6, 4], [0, 1, 1, 0, 1, 1])
FAULTS = """
import numpy as np
from spikestore.pipeline import EventFunction

RANDOM = EventFunction(lambda events: events[np.random.random(len(events)) < 0.5], version=1)
FAILS = EventFunction(lambda events: events / 0, version=1)
A_LIST = EventFunction(lambda events: [1, 2], version=1)
FEWER_FIELDS = EventFunction(lambda events: events[["t", "x"]], version=1)
MORE = EventFunction(lambda events: np.repeat(events, 2), version=1)
BACKWARDS = EventFunction(lambda events: events[::-1], version=1)

def shift(events, *, by=-1):
    events["x"] += by
    return events

SHIFT = EventFunction(shift, version=3)
NOT_ONE = shift

class InC:
    @property
    def __signature__(self):
        raise ValueError("no signature found for builtin")

    def __call__(self, events):
        return events

IN_C = EventFunction(InC(), version=1)
"""
POINTS = (
    "random",
    "fails",
    "a_list",
    "fewer_fields",
    "more",
    "backwards",
    "shift",
    "not_one",
    "in_c",
    "gone",
)


def write_package(site: Path, name: str, module: str, points: dict[str, str]) -> None:
    """Write a package as an installer leaves it."""
    metadata = site / f"{name}-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 1.0\n"
    )
    lines = [f"{entry} = {name}:{value}" for entry, value in points.items()]
    (metadata / "entry_points.txt").write_text("\n".join(["[spikestore.operations]", *lines, ""]))
    (site / f"{name}.py").write_text(module)


def page_blocks() -> dict[str, str]:
    text = PAGE.read_text(encoding="utf-8")
    section = text[text.index("## Operations of other packages") :].split("\n## ")[0]
    toml, recipe = re.findall(r"^```toml\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    (module,) = re.findall(r"^```py\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    return {"toml": toml, "recipe": recipe, "module": module}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder on Python's path with the package of the page, and one with faults."""
    site, blocks = tmp_path / "site", page_blocks()
    (point,) = re.findall(r'^(\w+) = "wand_lab:(\w+)"$', blocks["toml"], re.MULTILINE)
    write_package(site, "wand_lab", blocks["module"], dict([point]))
    write_package(site, "fault_lab", FAULTS, {name: name.upper() for name in POINTS})
    monkeypatch.syspath_prepend(str(site))
    own_operations._entry_points.cache_clear()
    for module in ("wand_lab", "fault_lab"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    return site


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    yield
    own_operations._entry_points.cache_clear()
    own_operations._load.cache_clear()


def own(name: str, version: int = 1, **parameters: Any) -> OwnOperation:
    return OwnOperation(name=name, version=version, parameters=parameters)


def test_the_operation_of_the_page_is_applied(site: Path) -> None:
    """Name, version and parameters are in the key; both executors that work on single recordings apply it."""
    thin = own("wand-lab.thin", every=2)
    sample = chain(thin, FRAMES)(EVENTS, name=NAME)
    expected = chain(FRAMES)(EVENTS[::2], name=NAME)
    np.testing.assert_array_equal(sample.index, expected.index)
    assert (sample.n_events, sample.n_cropped) == (6, 3)
    transform = Transform(operations=(thin, FRAMES))
    assert executor_for(transform, "auto", has_y=False) == "numpy"
    hashed = transform.key_document()["operations"][0]
    assert hashed == {
        "op": "own_operation",
        "name": "wand-lab.thin",
        "version": 1,
        "parameters": {"every": 2},
    }
    assert Transform(operations=(own("wand-lab.thin", every=2.0), FRAMES)).key == transform.key


def test_a_function_that_draws_numbers_is_an_error(site: Path) -> None:
    many = recording(np.arange(200))
    message = f"^{NAME}: the operation fault-lab.random gave other events in a second run"
    with pytest.raises(UsageError, match=message):
        chain(own("fault-lab.random"), FRAMES)(many, name=NAME)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("a_list", "returned list, but must return an array of events"),
        ("fewer_fields", "but must return an array of events with the dtype"),
        ("more", "returned 12 events, but must not return more than the 6 that it got"),
        ("backwards", "returned times that are not in order"),
    ],
)
def test_results_that_are_no_events_are_errors(site: Path, name: str, words: str) -> None:
    with pytest.raises(UsageError, match=f"^{NAME}: the operation fault-lab.{name} .*{words}"):
        chain(own(f"fault-lab.{name}"), FRAMES)(EVENTS, name=NAME)


def test_a_function_that_fails_is_an_error_of_the_recording(site: Path) -> None:
    with pytest.raises(RecordingError, match=f"^{NAME}: the operation fault-lab.fails failed with "):
        chain(own("fault-lab.fails"), FRAMES)(EVENTS, name=NAME)


def test_coordinates_of_a_function_are_checked(site: Path) -> None:
    with pytest.raises(UsageError, match="returned negative coordinates"):
        chain(own("fault-lab.shift", 3), FRAMES)(EVENTS, name=NAME)
    message = f"{NAME}, after own_operation, event 0: x = 704 \\(352 as read\\) is outside the sensor"
    shifted = chain(own("fault-lab.shift", 3, by=348), Downsample(spatial_factor=(2.0, 1.0)), FRAMES)
    with pytest.raises(RecordingError, match=message):
        shifted(EVENTS, name=NAME)


def test_a_function_without_a_signature_is_applied(site: Path) -> None:
    """Some functions in C have none; parameters that such a function does not take are an error of its first call."""
    sample = chain(own("fault-lab.in_c"), FRAMES)(EVENTS, name=NAME)
    np.testing.assert_array_equal(sample.index, chain(FRAMES)(EVENTS, name=NAME).index)
    with pytest.raises(RecordingError, match=r"fault-lab.in_c failed with TypeError: .*'by'"):
        chain(own("fault-lab.in_c", by=1), FRAMES)(EVENTS, name=NAME)


@pytest.mark.parametrize(
    ("operation", "words"),
    [
        (own("wand-lab.thinn"), "the operation wand-lab.thinn is not installed: install the package"),
        (own("wand-lab.thin", 2, every=2), "wand-lab.thin is installed in version 1, not 2: set version = 1"),
        (own("wand-lab.thin"), "does not take these parameters: missing a required .*argument: 'every'"),
        (own("fault-lab.shift", 3, to=4), "does not take these parameters: got an unexpected keyword"),
        (own("fault-lab.not_one"), "can't be loaded .*must be a spikestore.pipeline.EventFunction"),
        (own("fault-lab.gone"), r"can't be loaded \(AttributeError"),
    ],
    ids=["missing", "version", "argument", "other argument", "kind", "attribute"],
)
def test_what_cannot_be_used_is_one_line_before_the_build(
    site: Path, operation: OwnOperation, words: str
) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        executor_for(Transform(operations=(operation, FRAMES)), "auto", has_y=False)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_workers_find_an_operation_and_readers_need_none(tmp_path: Path, site: Path) -> None:
    """Workers of the command line find the operation; readers of the set do not need it."""
    write_demo_data(tmp_path / "data", train=12, valid=2, test=2)
    frames = 'op = "to_frame"\nsensor_size = [700, 1, 1]\ntime_window = 20000\n'
    (tmp_path / "thin.toml").write_text(
        'name = "thin"\n[source]\ndataset = "SSC"\ndata = "data"\nsplits = ["train"]\n'
        f"{page_blocks()['recipe']}\n[[transform]]\n{frames}"
    )

    def run(*arguments: str, path: list[str]) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*path, *sys.path[1:]])}
        command = [sys.executable, "-m", "spikestore.store", *arguments, "--store", "store"]
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )

    missing = run("preprocess", "thin.toml", path=[])
    assert missing.returncode == 2
    assert "the operation wand-lab.thin is not installed" in missing.stderr
    assert "Traceback" not in missing.stderr
    done = run("preprocess", "thin.toml", "--workers", "2", path=[str(site)])
    assert done.returncode == 0, done.stderr
    features = Store(tmp_path / "store")["thin:train"]
    columns = features.read()
    n_events = columns.extras["n_events"].astype(np.int64)
    assert (n_events - columns.extras["n_cropped"] == -(-n_events // 3)).all()
    shown = run("show", "thin:train", path=[])
    assert shown.returncode == 0, shown.stderr
    again = run("preprocess", "thin.toml", path=[])
    assert again.returncode == 0, again.stderr
