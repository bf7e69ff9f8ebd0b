"""`make` passes the values of the user unchanged to the commands."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

MAKEFILE = Path(__file__).parents[1] / "Makefile"
ODD = "/some/o'brien's \"x\" $HOME $(shell false) `ls` \\ % # ü;&"

pytestmark = pytest.mark.skipif(
    shutil.which("make") is None or shutil.which("bash") is None, reason="make and bash are needed"
)


def arguments(folder: Path, *words: str, **variables: str) -> list[list[str]]:
    """Run make with a `.venv` whose command only writes down its arguments; return those of each call."""
    program = folder / ".venv/bin/spikestore"
    program.parent.mkdir(parents=True, exist_ok=True)
    log = folder / "calls"
    program.write_text(
        f"#!{sys.executable}\nimport json, sys\nprint(json.dumps(sys.argv[1:]), file=open({str(log)!r}, 'a'))\n"
    )
    program.chmod(0o755)
    for name in ("pyproject.toml", "constraints.txt"):
        (folder / name).touch()
    for number, name in enumerate(("venv", "train", "pipeline", "dev")):
        stamp = folder / ".venv" / f".stamp-{name}"
        stamp.touch()
        os.utime(stamp, (2e9 + number, 2e9 + number))
    log.unlink(missing_ok=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(
        [str(shutil.which("make")), "-f", str(MAKEFILE), *words],
        cwd=folder,
        env={**environment, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in log.read_text().splitlines()]


@pytest.mark.parametrize("said", ["on the command line", "in the environment"])
def test_any_path_reaches_preprocess(tmp_path: Path, said: str) -> None:
    """Paths with quotes, spaces, dollar signs or calls of make's functions reach the command unchanged, and nothing in them is run."""
    values = {
        "DATA": f"data{ODD}",
        "STORE": f"store{ODD}",
        "RECIPE": f"r{ODD}",
        "NAME": "n",
        "MOVE": "1",
        "LOCK": f"l{ODD}",
    }
    words = [f"{name}={value}" for name, value in values.items()] if "line" in said else []
    (call,) = arguments(tmp_path, "preprocess", *words, **({} if words else values))
    assert call == [
        "preprocess",
        *("--data", values["DATA"]),
        *("--store", values["STORE"]),
        *("--name", "n", "--move"),
        *("--lock", values["LOCK"]),
        *("--", values["RECIPE"]),
    ]


def test_any_path_reaches_train(tmp_path: Path) -> None:
    """A configuration's path reaches the command unchanged, and so does the run folder that is named after it."""
    (call,) = arguments(tmp_path, "train", f"CONFIG={ODD}/my net's.toml", "SEED=3", "STORE=s t")
    assert call == [
        *("train", "--store", "s t", "--seed", "3", "--folder", "runs/my net's-seed3"),
        *("--", f"{ODD}/my net's.toml"),
    ]


def test_without_words_it_is_the_demo(tmp_path: Path) -> None:
    """Without variables, make writes the demo recordings and runs the demo recipe."""
    made, built = arguments(tmp_path, "preprocess")
    assert made == ["demo-data", "data/demo"]
    assert built == ["preprocess", "--store", "./feature_store", "--", "recipes/demo.toml"]


def test_an_old_store_is_named(tmp_path: Path) -> None:
    """`make` reports an old store in `./store`: it was the default once, and the folder now holds a package."""
    (tmp_path / "store" / "features").mkdir(parents=True)
    done = subprocess.run(
        [str(shutil.which("make")), "-f", str(MAKEFILE), "help"],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if not name.startswith("MAKE")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith(
        "spikestore: ./store holds feature sets; the default is ./feature_store now"
    )
