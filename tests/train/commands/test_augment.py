"""``spikestore augment``: a picture of samples before and after, and its errors."""

from __future__ import annotations

import errno
import os
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from spikestore.store.cli.main import main
from spikestore.train import Batch
from spikestore.train.data.augmentation.picture import write_picture


@pytest.mark.slow  # matplotlib takes a second to import
@pytest.mark.parametrize("how", ["--preset", "--config"])
def test_writes_a_picture(
    store_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], how: str
) -> None:
    """The picture is of a preset that mixes labels, or of a configuration; the same command writes the same bytes."""
    (tmp_path / "run.toml").write_text('[[augment]]\nop = "time_shift"\nbins = 3\n[data]\nname = "small"\n')
    given = {"--preset": "eventmix", "--config": str(tmp_path / "run.toml")}[how]
    pictures = []
    for number in range(2):
        out = tmp_path / f"{number}.png"
        command = ["augment", "small:train", how, given, "--samples", "3", "--out", str(out)]
        assert main([*command, "--store", str(store_folder)]) == 0
        pictures.append(out.read_bytes())
    assert "3 samples of small:train, before and after 1 augmentation:" in capsys.readouterr().err
    assert pictures[0] == pictures[1]
    assert pictures[0].startswith(b"\x89PNG")
    assert len(pictures[0]) < 60_000


@pytest.mark.slow  # matplotlib takes a second to import
def test_samples_are_cut_and_padded_as_in_training(
    store_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = []
    monkeypatch.setattr(
        "spikestore.train.data.augmentation.picture.write_picture",
        lambda path, before, after, classes: shapes.extend([before.frames.shape[1], after.frames.shape[1]]),
    )
    config = tmp_path / "run.toml"
    config.write_text(
        '[[augment]]\nop = "time_shift"\nbins = 3\n[data]\nname = "small"\ntruncate_to = 4\npad_to = 7\n'
    )
    command = ["augment", "small:train", "--config", str(config), "--out", str(tmp_path / "x.png")]
    assert main([*command, "--store", str(store_folder)]) == 0
    assert shapes == [7, 7]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "pass either --preset NAME or --config FILE; presets are snn-delays, "),
        (["--preset", "eventmix", "--config", "c.toml"], "pass either --preset NAME or --config FILE"),
        (["--preset", "eventmax"], "unknown preset 'eventmax', did you mean 'eventmix'?"),
        (
            ["--preset", "eventmix-cutmix"],
            "CutMix needs frames with x and y, but the frames of this set have no y",
        ),
        (["--out", "picture.jpg"], "the picture is a PNG file: its name must end in .png, got picture.jpg"),
    ],
)
def test_errors(
    store_folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    """The message is one line, and the exit status is 2 or 1."""
    command = ["augment", "small:train", "--out", "picture.png", *arguments, "--store", str(store_folder)]
    assert main(command) in (1, 2)
    assert message in capsys.readouterr().err


@pytest.mark.slow  # matplotlib takes a second to import
def test_a_picture_that_cannot_be_finished_leaves_the_former_one(
    store_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a full disk, for example: no incomplete file replaces the former one, and no other file is left."""
    from matplotlib.figure import Figure

    def half(self: Figure, path: Path, **_: object) -> None:
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    out = tmp_path / "picture.png"
    out.write_bytes(b"former")
    monkeypatch.setattr(Figure, "savefig", half)
    command = ["augment", "small:train", "--preset", "eventmix", "--out", str(out)]
    assert main([*command, "--store", str(store_folder)]) == 1
    assert f"cannot write {out} (No space left on device)" in capsys.readouterr().err
    assert [*tmp_path.iterdir()] == [out]
    assert out.read_bytes() == b"former"


@pytest.mark.slow  # matplotlib takes a second to import
@pytest.mark.parametrize(("bins", "name"), [(20, "$\\foo$"), (24_000, "yes")], ids=["$\\foo$", "long"])
def test_any_class_name_and_length(tmp_path: Path, bins: int, name: str) -> None:
    """Matplotlib reads text between dollars as formulas, and torch has no quantiles of more than 16,777,216 numbers."""
    zero = torch.zeros(1, dtype=torch.int64)
    batch = Batch(torch.ones(1, bins, 1, 700), zero, zero + bins, zero)
    write_picture(tmp_path / "picture.png", batch, batch, (name,))
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow  # matplotlib takes a second to import
def test_class_names_that_the_fonts_lack_are_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise matplotlib would draw boxes, and warn. Names that it can draw stay, also in a mixed label."""
    from matplotlib import rcParams
    from matplotlib.figure import Figure

    monkeypatch.setitem(rcParams, "font.sans-serif", ["no such font", "DejaVu Sans"])
    titles: list[str] = []

    def save(self: Figure, path: Path, **options: Any) -> None:
        titles.extend(axes.get_title() for axes in self.axes)
        saved(self, path, **options)

    saved = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", save)
    zero = torch.zeros(3, dtype=torch.int64)
    frames = torch.ones(3, 5, 1, 8)
    before = Batch(frames, torch.tensor([0, 1, 2]), zero + 5, zero)
    after = Batch(frames, torch.tensor([[1.0, 0, 0], [0, 1, 0], [0.75, 0, 0.25]]), zero + 5, zero)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_picture(tmp_path / "picture.png", before, after, ("日本", "Größe", "犬\nい"))
    assert titles[:3] == ["row 0: class 0", "row 0: Größe", "row 0: class 2"]
    assert titles[3:] == ["row 0: 1.00 class 0", "row 0: 1.00 Größe", "row 0: 0.75 class 0 + 0.25 class 2"]
