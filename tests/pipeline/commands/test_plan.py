"""``spikestore plan``: the options of a build that its estimate assumes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from tests.pipeline.cochlea_files import write_dataset
from tests.pipeline.small_builds import write_recipe

from spikestore.store.cli.main import main


@pytest.mark.slow
def test_the_estimate_is_for_the_workers_of_preprocess(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """--workers comes before the recipe's number; 0 is this process alone, not one worker per core."""
    write_dataset(tmp_path / "data", "SSC")
    recipe = write_recipe(tmp_path)
    recipe.write_text(recipe.read_text() + "[build]\nworkers = 3\n")
    for flags, workers in (((), 3), (("--workers", "0"), 1), (("--workers", "5"), 5)):
        assert main(["plan", str(recipe), "--store", str(tmp_path / "store"), *flags, "--json"]) == 0
        rows = json.loads(capsys.readouterr().out)["splits"]
        assert {row["workers"] for row in rows} == {workers}


@pytest.mark.slow
def test_the_estimate_is_for_the_executor_of_the_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Tonic is slower than compiled code. Without Tonic, `plan` ends as `preprocess` does."""
    write_dataset(tmp_path / "data", "SSC")
    recipe = write_recipe(tmp_path)
    recipe.write_text(recipe.read_text() + '[build]\nexecutor = "tonic"\n')
    monkeypatch.setitem(sys.modules, "tonic", None)
    assert main(["plan", str(recipe), "--store", str(tmp_path / "store")]) == 2
    assert "tonic" in capsys.readouterr().err
