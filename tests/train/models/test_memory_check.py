"""Networks that cannot be built, and unusable folders: an error names file and field before any set is loaded."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.train.runs.test_loop import config, silent

from spikestore.store import Store
from spikestore.store_schemas.errors import MissingExtraError, SourceNotFoundError, SpecError, UsageError
from spikestore.train import NetworkSpec
from spikestore.train.models.memory_check import fitting_network
from spikestore.train.runs.config import load_config
from spikestore.train.runs.monitor import TrainingError
from spikestore.train.runs.run import run


def told(network: dict[str, Any], store_folder: Path, folder: Path) -> UsageError:
    """Return the error of a run with this network; assert that nothing was loaded before it."""
    heard: list[str] = []
    with pytest.raises(UsageError) as error:
        run(
            config(network=network),
            Store(store_folder),
            folder,
            device="cpu",
            origin="runs/a.toml",
            progress=lambda done, total, label: heard.append(label),
        )
    assert heard == []
    assert "\n" not in error.value.message
    return error.value


@pytest.mark.parametrize(
    ("network", "words"),
    [
        ({"convolutions": [{"channels": 4}]}, "runs/a.toml: network: convolutions need frames of"),
        ({"spike_threshold": 1e-300}, "runs/a.toml: network: spike_threshold must be above 0"),
        ({"min_v_mem": 1e300}, "runs/a.toml: network: min_v_mem must be one finite number"),
        ({"hidden": [8, 100_000_000_000]}, "runs/a.toml: network.hidden[1] is too large, because the network needs 12,800.0 GB"),
        ({"hidden": [2**53 - 1]}, "runs/a.toml: network.hidden[0] is too large"),
    ],
)  # fmt: skip
def test_file_and_field_are_named_first(
    store_folder: Path, tmp_path: Path, network: dict[str, Any], words: str
) -> None:
    """The error comes before anything is loaded, which may take minutes."""
    assert words in told(network, store_folder, tmp_path).message


def test_a_missing_backend_is_reported_first(
    store_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is reported with the command that installs the backend."""
    monkeypatch.setitem(sys.modules, "sinabs.layers", None)
    error = told({"backend": "sinabs"}, store_folder, tmp_path)
    assert isinstance(error, MissingExtraError)
    assert error.message.startswith("runs/a.toml: network: the backend 'sinabs' needs Sinabs")


def test_large_convolutions_are_reported() -> None:
    """The weights of a convolution count too."""
    spec = NetworkSpec.from_mapping({"convolutions": [{"channels": 10**12}], "hidden": [2]}, origin="test")
    shape = {"sites": 200, "classes": 2, "polarities": 2, "height": 10, "width": 10}
    with pytest.raises(UsageError, match=r"^a\.toml: network\.convolutions\[0\] is too large"):
        fitting_network(spec, shape, torch.device("cpu"), "a.toml")


def test_the_advice_for_a_checkpoint_leaves_the_layers() -> None:
    """The layers of a trained network cannot be made smaller; a configuration can."""
    spec = NetworkSpec.from_mapping({"hidden": [10**12]}, origin="test")
    shape = {"sites": 10, "classes": 2}
    with pytest.raises(
        UsageError, match=r"are free: end other programs that use this memory, or use another device$"
    ):
        fitting_network(spec, shape, torch.device("cpu"), "best.pt", copies=1)
    with pytest.raises(UsageError, match=r"are free: make this layer smaller$"):
        fitting_network(spec, shape, torch.device("cpu"), "a.toml")


@pytest.mark.parametrize("name", ["last.pt", "best.pt"])
def test_a_folder_instead_of_a_file_is_reported_first(store_folder: Path, tmp_path: Path, name: str) -> None:
    """A folder where a checkpoint will be written is reported at once, not at the end of the first epoch."""
    (tmp_path / name).mkdir()
    with pytest.raises(UsageError, match=rf"{name} is a folder, but a checkpoint must be written there"):
        run(config(), Store(store_folder), tmp_path, device="cpu", progress=silent)
    assert [one.name for one in tmp_path.iterdir()] == [name]


def test_a_file_instead_of_a_folder_is_reported(store_folder: Path, tmp_path: Path) -> None:
    """The advice is not to change permissions, which would not help."""
    (tmp_path / "run").touch()
    with pytest.raises(UsageError, match="run is a file, but the run needs a folder there: move it"):
        run(config(), Store(store_folder), tmp_path / "run", device="cpu", progress=silent)


def test_first_weights_are_to_blame_for_the_first_loss(store_folder: Path, tmp_path: Path) -> None:
    """Before the first step, the learning rate can't be the cause, so the message names the initial weights."""
    wild = config(network={"input_scale": 1e300})
    with pytest.raises(
        TrainingError,
        match=r"linear1\.weight\): this batch came before the first optimiser step.*lower input_scale",
    ) as error:
        run(wild, Store(store_folder), tmp_path, device="cpu", progress=silent)
    assert "learning_rate" not in error.value.message


def test_the_log_names_the_valid_split(
    store_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The log uses the name of the split in the configuration."""
    plan = config(epochs=1, data={"name": "small", "batch_size": 16, "train": "valid", "valid": "train"})
    with caplog.at_level(logging.INFO, "spikestore"):
        run(plan, Store(store_folder), tmp_path, device="cpu", progress=silent)
    assert "accuracy on train 0." in caplog.text


def test_every_problem_of_a_configuration_is_listed(tmp_path: Path) -> None:
    """A NaN, which JSON can't represent, does not hide other problems."""
    path = tmp_path / "a.toml"
    path.write_text("""
    epochs = 0
    seed = -1
    sede = 1
    [data]
    batch_size = "a"
    [network]
    hidden = []
    spike_threshold = -inf
    [optimiser]
    learning_rate = nan
    clip_norm = 0
    """)
    with pytest.raises(SpecError, match=r"a\.toml: 9 problems") as error:
        load_config(path)
    assert {one.path for one in error.value.problems} == {
        "epochs", "seed", "sede", "data.name", "data.batch_size", "network.hidden", "network.spike_threshold",
        "optimiser.learning_rate", "optimiser.clip_norm",
    }  # fmt: skip


@pytest.mark.parametrize(
    "text",
    ["[data", f"epochs = {'1' * 5000}", f"epochs = {'[' * 5000}", f"name.{'a.' * 2000}b = 1"],
    ids=["no bracket", "many digits", "nested lists", "nested tables"],
)
def test_a_configuration_that_python_cannot_parse_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.toml"
    path.write_text(text)
    with pytest.raises(SpecError, match=r"a\.toml"):
        load_config(path)


@pytest.mark.parametrize("value", ['"on"', "2", '"true"'])
def test_a_choice_of_several_kinds_is_one_problem(tmp_path: Path, value: str) -> None:
    """Allowed words and truth values are listed in one line, spelled as in TOML."""
    path = tmp_path / "a.toml"
    path.write_text(f'cuda_graphs = {value}\n[data]\nname = "a"\n')
    with pytest.raises(SpecError) as error:
        load_config(path)
    (problem,) = error.value.problems
    found = value.replace('"', "'")
    assert problem.path == "cuda_graphs"
    assert problem.message.startswith(f"must be 'auto', true or false, got {found}")
    path.write_text('cuda_graphs = true\n[data]\nname = "a"\n')
    assert load_config(path).cuda_graphs is True


def test_files_that_are_no_configuration(tmp_path: Path) -> None:
    """A byte order mark is no error; a folder is named as such, and a missing file with the most similar name, as for recipes."""
    path = tmp_path / "a.toml"
    path.write_text('\ufeffepochs = 2\n[data]\nname = "a"\n', encoding="utf-8")
    assert load_config(path).epochs == 2
    with pytest.raises(SourceNotFoundError, match=r"the configuration .* is a folder: pass a TOML file"):
        load_config(tmp_path)
    with pytest.raises(
        SourceNotFoundError, match=r"no configuration at .*b\.toml, did you mean '.*a\.toml'\?"
    ):
        load_config(tmp_path / "b.toml")
