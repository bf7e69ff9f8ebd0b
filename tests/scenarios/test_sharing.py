"""Two machines and a bucket: preprocess, push, pull without recordings, and train, all through the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tests.scenarios.command_runs import Commands, digests, identities, write_recipe
from tests.scenarios.conftest import Built
from tests.scenarios.refusals import Run, well
from tests.scenarios.test_train_through_cli import write_config
from tests.store.s3_server import BUCKET, SECRET, variables


@pytest.mark.slow
@pytest.mark.s3
def test_two_machines(
    built: Built, s3_endpoint: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second machine finds the sets of the first by the lock, in a bucket that it may only read, and trains on them."""
    bucket = f"s3://{BUCKET}/{tmp_path.name}"
    for name, value in variables(s3_endpoint).items():
        monkeypatch.setenv(name, value)
    pushed = well(run, "push", "demo", "--to", bucket, "--store", built.store, "--json").json
    assert set(pushed["feature_sets"]) == {"demo:train", "demo:valid", "demo:test"}

    # The other machine: recipe and lock from version control, no recordings.
    for name, value in variables(s3_endpoint, key="reader", secret="reader").items():  # noqa: S106
        monkeypatch.setenv(name, value)
    recipe = write_recipe(tmp_path / "demo.toml", source='data = "not here"', top=f'upstreams = ["{bucket}"]')
    shutil.copy(built.recipe.with_suffix(".lock"), tmp_path)
    done = well(run, "preprocess", recipe, "--store", "store")
    assert done.err.count(f"from the upstream {bucket}") == 3
    assert digests(tmp_path / "store", "demo") == digests(built.store, "demo")
    before = identities(sorted((tmp_path / "store").rglob("*.json")))
    again = well(run, "pull", "demo", "--from", bucket, "--store", "store")
    assert again.err.count("exists already") == 3
    assert identities(sorted((tmp_path / "store").rglob("*.json"))) == before
    trained = well(run, "train", write_config(tmp_path), "--store", "store", "--device", "cpu", "--json")
    assert 0 < trained.json["best_accuracy"] <= 1
    assert not [one for one in (done, again) if SECRET in one.err]


@pytest.mark.s3
@pytest.mark.slow
def test_a_run_straight_from_a_bucket(
    built: Built, s3_endpoint: str, with_torch_commands: Commands, tmp_path: Path
) -> None:
    """A run that reads from a bucket has the loss of a run that reads from a folder, to the last bit."""
    bucket = f"s3://{BUCKET}/{tmp_path.name}"
    run, config = with_torch_commands, write_config(tmp_path)
    run.well("push", "demo", "--to", bucket, "--store", built.store, environment=variables(s3_endpoint))
    reader = variables(s3_endpoint, key="reader", secret="reader")  # noqa: S106 - of the test server
    losses = []
    for folder, store in (("a", str(built.store)), ("b", bucket)):
        arguments = ("train", config, "--store", store, "--device", "cpu", "--folder", folder, "--json")
        losses.append(json.loads(run.well(*arguments, environment=reader).out)["epochs"][0]["loss"])
    assert losses[0] == losses[1]


@pytest.mark.slow
def test_a_configuration_with_upstreams(built: Built, with_torch_commands: Commands, tmp_path: Path) -> None:
    """`train` copies what its store lacks, and says from where."""
    config = write_config(tmp_path)
    config.write_text(f'upstreams = ["{built.store}"]\n{config.read_text()}')
    done = with_torch_commands.well("train", config, "--store", "store", "--device", "cpu")
    assert f"copied demo:train from the upstream {built.store}" in done.err
    assert digests(tmp_path / "store", "demo").keys() == {"train", "valid"}
