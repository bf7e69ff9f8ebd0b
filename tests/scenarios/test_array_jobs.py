"""A build by a job array: the jobs do not know of each other, and a last job commits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.pipeline.cochlea_files import draw, write_file
from tests.scenarios.command_runs import write_recipe
from tests.scenarios.refusals import Run, build

from spikestore.pipeline import BuildOptions, preprocess
from spikestore.pipeline.building.array_jobs import fragments_of_part
from spikestore.pipeline.building.options import parse_part
from spikestore.pipeline.sources.source_files import make_source
from spikestore.store import Store
from spikestore.store_schemas.errors import UsageError


@pytest.fixture
def recipe(tmp_path: Path, data: Path) -> Path:
    """Return a recipe of 200 recordings in the train split: four fragments of 64."""
    write_file(data / "SSC" / "ssc_train.h5", draw(200, seed=1))
    return write_recipe(tmp_path / "r.toml", source='splits = ["train"]', build="fragment_samples = 64")


def part(run: Run, recipe: Path, share: str, store: str = "store") -> str:
    """Build one part."""
    answer = run("preprocess", recipe, "--data", "data", "--store", store, "--workers", "0", "--part", share)
    assert answer.status == 0, answer.err
    return answer.err


def test_parts_and_finalise_equal_one_build(run: Run, recipe: Path) -> None:
    """After all parts, in any order and one of them twice, --finalise commits the digest of an undisturbed build; nothing is committed earlier."""
    assert "part 2/3 has 2 fragments, of which this job built 2" not in part(run, recipe, "2/3")
    part(run, recipe, "3/3")
    assert "part 3/3 has 1 fragment, of which this job built 0" in part(run, recipe, "3/3")
    assert list(Store("store").feature_sets()) == []
    assert not Path("store/refs").exists()
    assert not Path("r.lock").exists()

    early = run("preprocess", recipe, "--data", "data", "--store", "store", "--finalise")
    assert early.status == 1
    assert "cannot finalise SSC train of r: 2 of 4 fragments are missing (0, 3)" in early.err
    assert list(Store("store").feature_sets()) == []
    listed = run("ls", "--store", "store")
    assert (listed.status, listed.out) == (0, "")
    assert listed.err.endswith(
        "has no feature sets, but it has an unfinished build: preprocess resumes this build\n"
    )

    part(run, recipe, "1/3")
    done = run("preprocess", recipe, "--data", "data", "--store", "store", "--finalise")
    assert done.status == 0, done.err
    features = Store("store")["r:train"]
    assert features.manifest.provenance["reused_fragments"] == 4
    assert Path("r.lock").exists()
    assert "nothing to compute" in part(run, recipe, "1/3")

    Path("r.lock").unlink()
    other = run("preprocess", recipe, "--data", "data", "--store", "other", "--workers", "0")
    assert other.status == 0
    assert Store("other")["r:train"].digest == features.digest


def test_finalise_commits_all_splits_or_none(run: Run, data: Path, tmp_path: Path) -> None:
    """The first part completes the training split only: --finalise names what the other split misses, and commits nothing."""
    for split in ("train", "valid"):
        write_file(data / "SSC" / f"ssc_{split}.h5", draw(100, seed=2))
    recipe = write_recipe(
        tmp_path / "both.toml", source='splits = ["train", "valid"]', build="fragment_samples = 64"
    )
    part(run, recipe, "1/2")
    early = run("preprocess", recipe, "--data", "data", "--store", "store", "--finalise")
    assert early.status == 1
    assert (
        "cannot finalise SSC train of both: 1 of 2 fragments is missing (1); "
        "cannot finalise SSC valid of both: 1 of 2 fragments is missing (1): rerun the jobs"
    ) in early.err
    # Now only one split is complete.
    recipe.write_text(recipe.read_text().replace('"train", "valid"', '"train"'))
    part(run, recipe, "2/2")
    recipe.write_text(recipe.read_text().replace('"train"', '"train", "valid"'))
    early = run("preprocess", recipe, "--data", "data", "--store", "store", "--finalise")
    assert early.status == 1
    assert "error: cannot finalise SSC valid of both: 1 of 2 fragments is missing (1): rerun" in early.err
    assert list(Store("store").feature_sets()) == []


def test_a_plain_run_completes_unfinished_parts(run: Run, recipe: Path) -> None:
    """A run without --part and --finalise builds missing fragments and keeps finished ones."""
    part(run, recipe, "1/2")
    assert build(run, recipe).status == 0
    assert Store("store")["r:train"].manifest.provenance["reused_fragments"] == 2


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "a/b", "1/0", "-1/3", "1/3/5"])
def test_what_is_no_part(text: str) -> None:
    """``--part`` accepts I/N with I from 1 to N, and nothing else."""
    with pytest.raises(UsageError, match=r"I/N with I from 1 to N"):
        parse_part(text)


def test_every_fragment_is_in_one_part() -> None:
    """The parts of any number cut the fragments without rest or overlap."""
    for of in (1, 2, 3, 7, 50):
        shares = [fragment for number in range(1, of + 1) for fragment in fragments_of_part((number, of), 23)]
        assert sorted(shares) == list(range(23))


def test_an_array_from_python(
    tmp_path: Path, recipe: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Jobs return no set, and write neither name nor lock; the last call returns the digest of a single build."""
    monkeypatch.chdir(tmp_path)
    for number in (2, 1):
        options = BuildOptions(workers=0, part=(number, 2))
        assert preprocess(recipe, data=data, store="store", options=options) == {}
    assert (Store("store").names(), Path("r.lock").exists()) == ([], False)
    final = preprocess(recipe, data=data, store="store", options=BuildOptions(finalise=True))["train"]
    assert final.manifest.provenance["reused_fragments"] == 4
    assert (Store("store").names(), Path("r.lock").exists()) == (["r"], True)
    again = preprocess(
        recipe, data=data, store="store", options=BuildOptions(part=(1, 2), fragment_samples=64)
    )
    assert again["train"].digest == final.digest

    transform, source = final.manifest.transform, make_source("SSC", "train", data)
    part = BuildOptions(workers=0, part=(1, 1), fragment_samples=64)
    assert preprocess(source, transform, store="other", name="x", options=part) is None
    assert Store("other").names() == []
    # Nothing is computed, so no scheduler is needed.
    last = BuildOptions(finalise=True, scheduler="tcp://127.0.0.1:1")
    built = preprocess(source, transform, store="other", name="x", options=last)
    assert (built.digest, Store("other").names()) == (final.digest, ["x"])
    assert preprocess(source, transform, store="other", options=part).digest == final.digest


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"part": (0, 2)}, r"part must be \(i, n\) with i from 1 to n, got \(0, 2\)"),
        ({"part": (3, 2)}, r"got \(3, 2\)"),
        ({"part": (1, 2), "finalise": True}, "give only one of --part, --finalise and --restart"),
        ({"part": (1, 2), "restart": True}, "give only one of --part, --finalise and --restart"),
        ({"finalise": True, "restart": True}, "give only one of --part, --finalise and --restart"),
    ],
)
def test_parts_that_are_refused_in_python(wrong: dict[str, Any], why: str) -> None:
    """Invalid parts are rejected before anything is read."""
    with pytest.raises(UsageError, match=why):
        BuildOptions(**wrong)


def test_part_excludes_finalise(run: Run, recipe: Path) -> None:
    """The two together are wrong use."""
    answer = run("preprocess", recipe, "--data", "data", "--store", "s", "--part", "1/2", "--finalise")
    assert answer.status == 2


def test_parts_and_plans_ask_upstreams_first(
    run: Run, recipe: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`plan` lists sets of an upstream as copies, and a part copies them; with the lock, also without recordings."""
    assert build(run, recipe).status == 0
    text = recipe.read_text()
    recipe.write_text('upstreams = ["store"]\n' + text)
    for where in ("data", None):
        given = () if where is None else ("--data", where)
        there = f"desk-{where}"
        answer = run("plan", recipe, "--store", there, *given, "--json")
        assert answer.status == 0, answer.err
        (row,) = json.loads(answer.out)["splits"]
        assert row["state"] == f"would be pulled from {Path('store').resolve()}"
        assert "nothing to compute" in run("plan", recipe, "--store", there, *given).err
        assert not Path(there).exists()
        answer = run("preprocess", recipe, *given, "--store", there, "--workers", "0", "--part", "2/3")
        assert answer.status == 0, answer.err
        assert "from the upstream " in answer.err
        assert len([*Store(there).feature_sets()]) == 1
        assert run("preprocess", recipe, *given, "--store", there, "--finalise").status == 0
        assert Store(there)["r:train"].digest == Store("store")["r:train"].digest
    recipe.write_text(text)
    answer = run("plan", recipe, "--store", "nowhere")
    assert "the recipe names no upstreams" in " ".join(answer.err.split())
    assert run("preprocess", recipe, "--store", "nowhere", "--part", "1/3").status == 2
