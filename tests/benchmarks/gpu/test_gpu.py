"""`benchmarks.gpu`: other parts continue after one fails, results are written after each part, and a missing GPU is reported."""

from __future__ import annotations

import json
import os
import select
import sys
from pathlib import Path

import pytest
from benchmarks.gpu.kit import environment_of_parts
from benchmarks.gpu.page import page, write_results
from benchmarks.gpu.parts import Outcome, Part, all_parts, run_part
from tests.benchmarks.bench_runs import bench

WAITS = "import threading; print('begun', flush=True); threading.Event().wait()"


def part(code: str, limit_s: float = 60, *, has_json: bool = False) -> Part:
    return Part("some", "a part", ("-c", code), limit_s, has_json=has_json)


@pytest.mark.parametrize(
    ("code", "status", "reason"),
    [
        ("print('fine')", "ok", ""),
        ("raise SystemExit('torch sees no GPU')", "failed", "exit status 1: torch sees no GPU"),
        ("import sys; print('no nvcc'); sys.exit(77)", "skipped", "no nvcc"),
        ("import os; os.abort()", "failed", "exit status -6: it said nothing"),
    ],
)
def test_how_a_part_ends(tmp_path: Path, code: str, status: str, reason: str) -> None:
    done = run_part(part(code), tmp_path, 60, dict(os.environ))
    assert (done.status, done.reason) == (status, reason)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="process groups and FIFOs are POSIX's")
def test_a_part_that_does_not_end_is_ended_with_its_children(tmp_path: Path) -> None:
    """The output of a part that exceeds its time limit is kept; its child process, which holds a FIFO open, is ended too."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reading = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    child = f"held = open({str(fifo)!r}, 'w'); {WAITS}"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    done = run_part(part(code, 3), tmp_path, 60, dict(os.environ))
    assert done.status == "out of time"
    assert "ended after 3 s" in done.reason
    select.select([reading], [], [], 30)  # the system may close the files of a killed child a little later
    assert os.read(reading, 1) == b""  # BlockingIOError would mean that a process still has it open
    os.close(reading)


def test_no_time_is_left(tmp_path: Path) -> None:
    done = run_part(part("print('never')"), tmp_path, 0, dict(os.environ))
    assert (done.status, done.reason) == ("out of time", "no time was left for it")


def test_the_json_of_a_part_that_failed_later_is_kept(tmp_path: Path) -> None:
    code = "import sys; open(sys.argv[-1], 'w').write('{\"rows\": []}'); sys.exit(1)"
    done = run_part(part(code, has_json=True), tmp_path, 60, dict(os.environ))
    assert (done.status, done.document) == ("failed", {"rows": []})


def test_all_parts_fit_into_eight_minutes() -> None:
    """The limits of all parts add up to 480 s at most; parts that measure no time run side by side, so only the longest counts."""
    from benchmarks.gpu.__main__ import LIMIT_S

    first, *rest = all_parts("cuda")
    assert first.name == "exodus-build"
    early = [one.limit_s for one in all_parts("cuda") if not one.measures and one.name != "exodus"]
    assert max(early) + sum(one.limit_s for one in all_parts("cuda")) - sum(early) <= 480
    assert LIMIT_S < 480
    assert [one.name for one in all_parts("cpu")] == [first.name, *(one.name for one in rest)]


def test_the_page(tmp_path: Path) -> None:
    """The page has a table of parts, a table of rows, and the last lines of output of each part that failed."""
    met = {"name": "a", "value": 3.6, "low": 3.5, "high": 3.7, "target": 3.5, "better": "higher"}
    missed = {
        "name": "b",
        "value": 1.2,
        "low": 1.1,
        "high": 1.3,
        "target": 1.0,
        "better": "lower",
        "ours": {"s": 1.2},
    }
    document = {"rows": [met, missed, {"name": "c", "skipped": "no jax"}]}
    outcomes = [
        Outcome("iaf", "neurons", "ok", seconds=61, document=document),
        Outcome("seed", "the seed", "failed", "exit status 1: it | broke", 3, "python3 -m x", ["it broke"]),
        Outcome("loading", "loading"),
    ]
    text = page({"GPU": "none", "torch": "2"}, outcomes)
    assert "| iaf | a | 3.6 | 3.5 to 3.7 | ≥ 3.5 | met |" in text
    assert "| iaf | b | 1.2 | 1.1 to 1.3 | ≤ 1 | MISSED | 1.2 s |" in text
    assert "| iaf | c | - | | | skipped: no jax |" in text
    assert "| seed | the seed | failed: exit status 1: it \\| broke | 3 |" in text
    assert "| loading | loading | waiting | 0 |" in text
    assert "`python3 -m x`\n\n```\nit broke\n```" in text
    write_results(tmp_path, {}, outcomes)
    assert json.loads((tmp_path / "gpu.json").read_text())["parts"][1]["status"] == "failed"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gpu.json", "gpu.md"]


def test_the_code_of_the_checkout_takes_precedence_over_the_kit(tmp_path: Path) -> None:
    paths = environment_of_parts(tmp_path)["PYTHONPATH"].split(os.pathsep)
    assert paths.index(str(tmp_path)) > max(
        place for place, path in enumerate(paths) if path.endswith("store_schemas")
    )


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "darwin", reason="this torch may have another accelerator")
def test_without_a_gpu_every_part_says_so(tmp_path: Path) -> None:
    """Without a GPU, each part is skipped with the reason, the exit status is 3, and the page is written."""
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    done = bench("gpu", "--out", tmp_path)
    assert done.returncode == 3, done.stderr
    parts = [one.name for one in all_parts("cuda")]
    lines = done.stdout.splitlines()
    assert [line.split(":")[0] for line in lines] == parts
    assert all(": skipped: no GPU: torch 2" in line for line in lines)
    assert "--device cpu runs the same parts without one" in done.stderr
    assert (tmp_path / "gpu.md").read_text().count("skipped: no GPU") == len(parts)


@pytest.mark.slow
@pytest.mark.timeout(1900)
def test_everything_but_the_card(tmp_path: Path) -> None:
    """``--device cpu`` runs the same parts in small sizes; EXODUS, which needs a GPU, has the reason why it is skipped."""
    done = bench("gpu", "--device", "cpu", "--out", tmp_path)
    document = json.loads((tmp_path / "gpu.json").read_text())
    found = {one["name"]: (one["status"], one["reason"]) for one in document["parts"]}
    assert {name: status for name, (status, _) in found.items()} == {
        "exodus-build": "skipped",
        "sanity": "ok",
        "tests": "ok",
        "exodus": "skipped",
        "iaf": "ok",
        "loading": "ok",
        "augmentation": "ok",
        "seed": "ok",
    }, (found, done.stdout, done.stderr)
    assert done.returncode == 0
    rows = {row["name"]: row for one in document["parts"] for row in (one["document"] or {}).get("rows", [])}
    assert rows["cpu_epoch_s"]["value"] > 0
    for name in ("host_vs_disk_cached", "stream_vs_disk_cached", "device_vs_list_of_sparse_tensors"):
        assert rows[name]["value"] > 0
    assert rows["neurons: spikes and states that differ from the CPU's"]["value"] == 0
    assert rows["two ranks: change of weights in 5 steps against one process's"]["value"] <= 1e-2
