"""The output of a series of commands equals ``transcript.txt``.

    UPDATE_TRANSCRIPT=1 python -m pytest -n 0 tests/messages/test_transcript.py     # writes it again

Times, sizes and versions differ from machine to machine and are shown as ``…``; progress is left out. ``!`` is stderr,
``=`` the exit status.
"""

from __future__ import annotations

import difflib
import os
import re
import shutil
from pathlib import Path

import pytest

from spikestore.store.cli.main import main

SNAPSHOT = Path(__file__).with_name("transcript.txt")
GOLDEN = Path(__file__).parents[1] / "golden"
TOUR = """
preprocess
preprocess --data . --store features
preprocess golden.toml --store features --workers 0
preprocess golden.toml --store features --workers 0
preprocess golden.toml --stor features
preprocess wrong.toml --store features
preprocess golden.toml --store features --data nowhere --name other
plan golden.toml --store empty
ls --store features
ls --store nowhere
show golden-recipe:train --store features
show golden-recipes --store features
show golden-recipe:valid --store features
verify --store features
verify golden-recipe --deep --store features
tag golden-recipe paper --store features
tag golden-recipe:train golden-recipe --store features
push paper --to shared --store features
push paper --to shared --store features
pull paper --from shared --store features
pull paper:train --from nowhere --store features
rm paper --store features
rm paper --store features
gc --store features
gc --unreferenced --dry-run --store features
repair golden-recipe --store features
init features
frobnicate
""".strip().splitlines()
PROGRESS = re.compile(r"^! .*: [\d.,]+( \w+)? of [\d.,]+ \w+")
CHANGING = (
    (r"\b\d+(\.\d+)? (s|ms|min|MB|kB|GB|MiB|GiB)\b", "…"),
    (r"\b[\d,]+ (bytes|workers)", r"… \1"),
    (r"(built\s+).*", r"\1…"),
    (r"(stored\s+).*", r"\1…"),
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(\.\d+)?(Z|\+00:00)?", "…"),
    (r"read by golden-recipe version.*", "…"),
)


def test_tour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(GOLDEN / "recipe", tmp_path, dirs_exist_ok=True)
    wrong = (tmp_path / "golden.toml").read_text().replace("time_window = 4000", "time_windo = 4000")
    (tmp_path / "wrong.toml").write_text(wrong)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("SPIKESTORE_STORE", raising=False)
    blocks = []
    for line in TOUR:
        capsys.readouterr()
        status = main(line.split())
        out, err = capsys.readouterr()
        said = [text for text in (f"! {line}" for line in err.splitlines()) if not PROGRESS.match(text)]
        lines = [f"$ spikestore {line}", *out.splitlines(), *said]
        blocks.append("\n".join([*lines, *([f"= {status}"] if status else [])]))
    now = "\n\n".join(blocks).replace(str(tmp_path), "FOLDER")
    for pattern, shown in CHANGING:
        now = re.sub(pattern, shown, now)
    now = "\n".join(line.rstrip() for line in now.splitlines()) + "\n"
    if os.environ.get("UPDATE_TRANSCRIPT"):
        SNAPSHOT.write_text(now, encoding="utf-8")
    expected = SNAPSHOT.read_text(encoding="utf-8").splitlines()
    changes = "\n".join(
        difflib.unified_diff(expected, now.splitlines(), "transcript.txt", "now", lineterm="", n=2)
    )
    assert not changes, (
        f"{changes}\nIf this is meant: UPDATE_TRANSCRIPT=1 {__doc__.splitlines()[2].strip()[20:]}"
    )
