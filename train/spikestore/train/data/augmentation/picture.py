"""Picture of samples before and after augmentation."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from spikestore.store.storage.durable_files import replacing
from spikestore.store_schemas.errors import MissingExtraError, StoreError
from spikestore.train.data.batch import Batch
from spikestore.train.data.batch_views import label_text


def write_picture(path: Path, before: Batch, after: Batch, classes: tuple[str, ...]) -> None:
    """Write a PNG file with two rows of frames: samples before augmentation, and the same samples after it.

    A sample without y is shown as channels over time bins, summed over polarities. A sample with y is shown as an image of
    the sensor, summed over time and polarities. The title of a sample is its row and its class. If matplotlib's fonts
    lack characters of the class name, the title has the number of the class.

    Parameters
    ----------
    path : Path
        The file.
    before, after : Batch
        The samples before and after augmentation.
    classes : tuple of str
        Class names.

    Raises
    ------
    MissingExtraError
        matplotlib is not installed.
    StoreError
        The file can't be written.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "pictures need matplotlib: pip install 'spikestore[plots]'", extra="plots", module="matplotlib"
        ) from error
    figure = Figure(figsize=(2.2 * len(before.labels) + 0.6, 4.4), layout="constrained")
    names = _names_in_fonts(classes)
    rows: Any = figure.subplots(2, len(before.labels), squeeze=False)
    for row, batch, when in zip(rows, (before, after), ("before", "after"), strict=True):
        for axes, frames, label, sample in zip(row, batch.frames, batch.labels, batch.samples, strict=True):
            _show_sample(axes, frames)
            title = f"row {int(sample)}: {label_text(label, names)}"
            axes.set_title(title, fontsize=7, parse_math=False)  # a class may be called $x
        row[0].set_ylabel(f"{when}\n{'y' if before.frames.ndim > 4 else 'channel'}", fontsize=8)
    try:
        with replacing(path, sync=False) as temporary:
            figure.savefig(temporary, format="png", dpi=90)
    except OSError as error:
        raise StoreError(
            f"cannot write {path} ({error.strerror}): pass another --out", path=str(path)
        ) from error


def _names_in_fonts(classes: tuple[str, ...]) -> tuple[str, ...]:
    """Return class names; ``class N`` for a name with characters that are not in matplotlib's fonts."""
    from matplotlib import rcParams
    from matplotlib.font_manager import FontProperties, findfont, get_font

    settings: Any = rcParams
    characters = {ord("\n"), *get_font(findfont(FontProperties())).get_charmap()}
    for family in settings["font.family"]:  # matplotlib takes missing characters from the next font
        for name in settings.get(f"font.{family}", [family]):  # such as font.sans-serif
            with contextlib.suppress(ValueError):  # not installed
                characters |= get_font(findfont(name, fallback_to_default=False)).get_charmap().keys()
    return tuple(
        name if characters.issuperset(map(ord, name)) else f"class {number}"
        for number, name in enumerate(classes)
    )


def _show_sample(axes: Any, frames: Tensor) -> None:
    """Draw one sample as an image into matplotlib's `axes`; `frames` has the shape (time, polarity, [y,] x)."""
    camera = frames.ndim == 4
    image = (
        frames.sum((0, 1)) if camera else frames.sum(1).T
    ).numpy()  # quantiles of torch have a limit of size
    axes.imshow(
        np.minimum(image, max(float(np.quantile(image, 0.995)), 1)),
        cmap="Greys",
        aspect="equal" if camera else "auto",
        origin="upper" if camera else "lower",
        interpolation="nearest",
    )
    axes.tick_params(labelsize=6)
