"""Small pictures of counts and real numbers, as PNG in data URIs. Their background is transparent, so that they fit light and dark pages."""

from __future__ import annotations

import base64
import io

import numpy as np
import numpy.typing as npt
from PIL import Image

ON, OFF = (0, 114, 178), (213, 94, 0)
"""Colours of the polarities 1 and 0: blue and vermilion of Okabe and Ito, which people with colour blindness can distinguish too."""

_LEVELS = 16
_FAINTEST = 80
"""Opacity (0 to 255) of levels above 0, before a part proportional to the level is added; level 0 is transparent."""


def picture(
    on: npt.NDArray[np.float64], off: npt.NDArray[np.float64] | None = None, *, is_real: bool = False
) -> str:
    """Return the data URI of a PNG with one pixel for each place; the opacity grows with the logarithm of the count.

    Parameters
    ----------
    on : float64 array, shape (rows, columns)
        Counts of polarity 1, or of the only polarity.
    off : float64 array, shape (rows, columns), optional
        Counts of polarity 0.
    is_real : bool
        Whether the values are real numbers, which must be at least 0. The opacity of real numbers is proportional to the value,
        and the largest value has the full opacity.
    """
    most = max(on.max(initial=0), 0 if off is None else off.max(initial=0))
    if not is_real:
        on, off, most = np.log1p(on), None if off is None else np.log1p(off), np.log1p(max(most, 1.0))
    pixels = _levels(on, most) * _LEVELS
    if off is not None:
        pixels += _levels(off, most)
    image = Image.fromarray(pixels.astype(np.uint8), mode="P")
    colours, opacity = _palette()
    image.putpalette(colours)
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True, transparency=opacity)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"


def _levels(values: npt.NDArray[np.float64], most: float) -> npt.NDArray[np.int64]:
    """Return a level from 0 to 15 for each value from 0 to `most`; only 0 has level 0."""
    levels: npt.NDArray[np.float64] = np.ceil(values / (most or 1.0) * (_LEVELS - 1))
    return levels.clip(0, _LEVELS - 1).astype(np.int64)


def _palette() -> tuple[bytes, bytes]:
    """Return colours and opacities for all pairs of a level of ON events and a level of OFF events."""
    on, off = np.divmod(np.arange(_LEVELS**2), _LEVELS)
    share = on / np.maximum(on + off, 1)
    colours = share[:, None] * np.array(ON) + (1 - share[:, None]) * np.array(OFF)
    level = np.maximum(on, off)
    opacity = np.where(level, _FAINTEST + (255 - _FAINTEST) * level / (_LEVELS - 1), 0)
    return colours.round().astype(np.uint8).tobytes(), opacity.round().astype(np.uint8).tobytes()
