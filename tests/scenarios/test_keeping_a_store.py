"""The commands for the upkeep of a store: verify, repair, tag, rm, gc."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from tests.pipeline.cochlea_files import draw, write_file
from tests.scenarios.command_runs import write_recipe
from tests.scenarios.refusals import Run, build

SKIPPED = 3


@pytest.fixture
def store(run: Run, data: Path, tmp_path: Path) -> Path:
    """Return a store with two splits of a recipe; a recording of one was skipped."""
    recordings = draw(70)
    recordings[SKIPPED] = (np.array([0.5, 0.25], np.float16), np.array([1, 2], np.uint16))
    write_file(data / "SSC" / "ssc_train.h5", recordings)
    recipe = write_recipe(tmp_path / "r.toml", source='splits = ["train", "test"]\non_error = "skip"')
    assert build(run, recipe).status == 0
    return tmp_path / "store"


def contents(store: Path) -> dict[str, bytes]:
    """Return all objects."""
    return {
        path.relative_to(store).as_posix(): path.read_bytes()
        for folder in ("features", "refs")
        for path in (store / folder).rglob("*")
        if path.is_file()
    }


def flip(path: Path) -> None:
    """Flip a bit of a file."""
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def train_files(store: Path, pattern: str) -> list[Path]:
    """Return files of the set of two fragments, which is the one of split train."""
    (folder,) = (
        path.parent for path in store.glob("features/*/*/builds/*/records") if len([*path.iterdir()]) == 2
    )
    return sorted(folder.glob(pattern))


def test_repair_as_the_recipe_says(run: Run, store: Path, tmp_path: Path) -> None:
    """With --recipe, repair uses the recipe's upstreams; if none of them has the locked set, it recomputes rows from the recipe's recordings."""
    whole = contents(store)
    shutil.copytree(store, tmp_path / "other")
    recipe = tmp_path / "r.toml"
    text = recipe.read_text()
    recipe.write_text('upstreams = ["lost", "other"]\n' + text)
    for path in train_files(store, "data.zarr/*/c/*"):
        flip(path)
    next(iter(store.glob("features/*/*/manifest.json"))).unlink()
    answer = run("repair", "r", "--store", "store", "--recipe", recipe, "--json")
    assert answer.status == 0, answer.err
    assert {one["how"] for one in json.loads(answer.out)["r:train"]["repaired"]} <= {"from the upstream"}
    assert "cannot use the upstream" in answer.err
    assert contents(store) == whole
    shutil.rmtree(tmp_path / "other")
    for path in train_files(store, "data.zarr/*/c/*"):
        flip(path)
    assert run("repair", "r:train", "--store", "store", "--recipe", recipe).status == 1
    recipe.write_text(text.replace("[source]", '[source]\ndata = "data"'))
    answer = run("repair", "r:train", "--store", "store", "--recipe", recipe, "--workers", "2", "--json")
    assert answer.status == 0, answer.err
    repaired = json.loads(answer.out)["r:train"]["repaired"]
    assert {one["how"] for one in repaired} == {"recomputed from the recordings"}
    assert contents(store) == whole


def test_repair_from_the_recordings(run: Run, store: Path) -> None:
    """Damaged fragments, records included, are computed again, to the same bytes; skipped recordings stay skipped."""
    whole = contents(store)
    for path in train_files(store, "data.zarr/*/c/0")[::2] + train_files(store, "records/00000.json"):
        flip(path)
    train_files(store, "data.zarr/value/c/1")[0].unlink()
    damaged = contents(store)
    answer = run("verify", "--store", "store")
    assert answer.status == 1
    assert answer.said[-1].startswith(
        f"3 damaged objects in {store}: "
    )  # all damage of a fragment without its record is one finding
    answer = run("repair", "r", "--store", "store")
    assert answer.status == 1
    assert "--data FOLDER" in answer.err
    answer = run("repair", "r:train", "--store", "store", "--data", "data", "--json")
    assert answer.status == 0, answer.err
    repaired = json.loads(answer.out)["r:train"]
    assert {one["how"] for one in repaired["repaired"]} == {"recomputed from the recordings"}
    changed = {path for path, content in contents(store).items() if content != damaged.get(path)}
    assert {one["path"] for one in repaired["repaired"]} == changed
    assert repaired["left"] == []
    assert contents(store) == whole
    answer = run("repair", "r", "--store", "store")
    assert (answer.status, answer.said[-1]) == (
        0,
        "r:train: verified without damage, so there is nothing to repair",
    )


def test_repair_from_other_recordings(run: Run, store: Path, data: Path) -> None:
    """Other recordings are refused by the name of the file, and nothing is changed."""
    flip(train_files(store, "data.zarr/label/c/0")[0])
    before = contents(store)
    write_file(data / "SSC" / "ssc_train.h5", draw(70))
    answer = run("repair", "r:train", "--store", "store", "--data", "data")
    assert answer.status == 1
    assert "ssc_train.h5 has different content" in answer.err
    answer = run("repair", "r:train", "--store", "store", "--data", "nowhere")
    assert answer.status == 2
    assert contents(store) == before


def test_repair_from_another_store(run: Run, store: Path) -> None:
    """All damaged objects, also manifests, are restored from the other store; a store can't repair itself."""
    shutil.copytree(store, "other")
    whole = contents(store)
    for pattern in ("data.zarr/index/c/0", "records/00001.json", "../../manifest.json"):
        flip(train_files(store, pattern)[0])
    assert run("repair", "r", "--store", "store", "--from", "store").status == 2
    answer = run("repair", "r", "--store", "store", "--from", "nowhere")
    assert (answer.status, "no store at" in answer.err, "check the path" in answer.err) == (2, True, True)
    answer = run("repair", "r", "--store", "store", "--from", "other")
    assert answer.status == 0, answer.err
    assert any(line.endswith("manifest.json: from the upstream") for line in answer.said)
    assert answer.said[-1] == "r:train: 3 objects repaired, 0 still damaged"
    assert contents(store) == whole
    assert run("repair", "zzz", "--store", "store", "--from", "other").status == 2


def test_one_damaged_manifest_hides_nothing(run: Run, store: Path) -> None:
    """Each damaged manifest is named, other sets are verified, and --uncommit lets the next build commit the fragments again."""
    whole = contents(store)
    manifest = train_files(store, "../../manifest.json")[0].resolve()
    digest = json.loads(manifest.read_bytes())["digest"]
    flip(manifest)
    (other,) = (
        path
        for path in store.glob("features/*/*/builds/*/data.zarr/label/c/0")
        if path not in train_files(store, "data.zarr/label/c/0")
    )
    flip(other)
    answer = run("verify", "--store", "store")
    assert answer.status == 1
    assert "manifest.json is damaged" in answer.err
    assert answer.err.count(manifest.relative_to(store.resolve()).as_posix()) == 1
    assert f"{other.relative_to(store).as_posix()}: its SHA-256 differs from its record" in answer.err
    listed = run("ls", "--store", "store")
    assert listed.status == 1
    head, *rows, below = listed.out.splitlines()
    assert [row.rstrip().endswith("damaged") for row in rows].count(True) == 1
    assert below.startswith("r:train: ")
    assert "manifest.json is damaged" in below
    assert len(head) < 120
    key = "/".join(part[:12] for part in manifest.relative_to(store.resolve()).parts[1:3])
    advice = f"run spikestore repair {key} --store {store}"
    assert advice in build(run, "r.toml").err  # the error of a build names the command too
    answer = run("repair", key, "--store", "store")
    assert answer.status == 1
    assert "--uncommit" in answer.err
    answer = run("repair", "r:train", "--store", "store", "--uncommit")
    assert (answer.status, len(answer.said)) == (0, 1)
    assert "removed the damaged manifest" in answer.said[0]
    assert not manifest.exists()
    assert run("repair", "r:test", "--store", "store", "--data", "data").status == 0
    assert build(run, "r.toml").status == 0
    assert json.loads(manifest.read_bytes())["digest"] == digest
    same = {path for path, content in contents(store).items() if whole.get(path) == content}
    assert {*whole} - same <= {manifest.relative_to(store).as_posix()}
    assert run("verify", "--deep", "--store", "store").status == 0


def test_names(run: Run, store: Path) -> None:
    """`tag` adds a second name, `rm` removes a name or a split of it, and the sets stay."""
    assert run("tag", "r", "paper", "--store", "store").status == 0
    assert run("show", "paper:train", "--store", "store").status == 0
    answer = run("tag", "r:test", "paper", "--store", "store")
    assert (answer.status, "move this name (--move" in answer.err) == (2, True)
    assert run("tag", "r:test", "paper", "--store", "store", "--move").status == 0
    assert run("rm", "r:test", "paper", "--store", "store").status == 0
    before = contents(store)
    answer = run("rm", "r", "nope", "--store", "store")
    assert (answer.status, "removed" in answer.err, contents(store)) == (2, False, before)
    answer = run("rm", "paper", "--store", "store")
    assert (answer.status, "no 'paper'" in answer.err) == (2, True)
    listed = json.loads(run("ls", "--store", "store", "--json").out)["feature_sets"]
    assert sorted(one["name"] for one in listed) == ["", "r:train"]
    assert run("verify", "--store", "store").status == 0
    answer = run("rm", "r", "r:train", "r", "--store", "store")
    assert (answer.status, answer.said[0]) == (0, "removed r (train)"), answer.err


def test_gc(run: Run, store: Path) -> None:
    """`gc` reports what it would remove, and what it removes, with sizes; named sets stay."""
    answer = run("gc", "--store", "store", "--unreferenced")
    assert (answer.status, answer.said) == (0, [f"nothing to remove in {store}"])
    assert run("rm", "r:test", "--store", "store").status == 0
    answer = run("gc", "--store", "store", "--unreferenced")
    assert "kept " in answer.err
    assert "no name refers to this set, but the set is younger than 7 days" in answer.err
    for path in store.rglob("*"):
        os.utime(path, (time.time() - 8 * 86400,) * 2)
    before = contents(store)
    assert "nothing to remove" in run("gc", "--store", "store").err
    answer = run("gc", "--store", "store", "--unreferenced", "--dry-run", "--json")
    (found,) = json.loads(answer.out)["garbage"]
    assert (found["kind"], json.loads(answer.out)["removed"]) == ("feature set", [])
    assert f"would free {found['bytes']:,} bytes" in answer.err
    assert contents(store) == before
    answer = run("gc", "--store", "store", "--unreferenced")
    assert answer.status == 0
    assert f"removing the feature set {found['path']}: {found['objects']} objects, " in answer.err
    assert answer.said[-1] == f"freed {found['bytes']:,} bytes in {store}"
    gone = {path for path in before if path not in contents(store)}
    assert gone == {path for path in before if path.startswith(found["path"])}
    assert run("verify", "--deep", "--store", "store").status == 0
    assert run("gc", "--store", "nowhere").status == 2
