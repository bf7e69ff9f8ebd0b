"""Functions that read MATLAB's ``.mat`` files (versions 4 to 7) with SciPy."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from spikestore.store_schemas.errors import MissingExtraError


def read_variables(content: bytes, names: Sequence[str] | None = None) -> dict[str, npt.NDArray[Any]]:
    """Return the numeric arrays of a file by name; as in MATLAB, each has at least two dimensions.

    Parameters
    ----------
    content : bytes
        The file.
    names : sequence of str, optional
        Variables to read; all of them by default. Those that the file lacks are left out.

    Raises
    ------
    MissingExtraError
        SciPy is not installed.
    ValueError
        The file is not a MATLAB file, is damaged, or has version 7.3.
    """
    try:
        from scipy.io import loadmat
    except ImportError:
        raise MissingExtraError(".mat files need SciPy: pip install 'spikestore[formats]'") from None
    if not content:
        raise ValueError("the file is empty: unpack it again from the downloaded archive")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # variables of unknown types, which nobody asked for
            loaded = loadmat(io.BytesIO(content), variable_names=names)
    except NotImplementedError:
        raise ValueError("the file has MATLAB's version 7.3: save it with the option -v7") from None
    except (
        Exception
    ) as error:  # SciPy raises anything on damaged files: struct.error, zlib.error, KeyError, …
        why = " ".join(str(error).split())[:200] or type(error).__name__
        raise ValueError(f"the file is not a MATLAB file, or damaged ({why})") from None
    return {
        name: value
        for name, value in loaded.items()
        if isinstance(value, np.ndarray) and value.dtype.kind in "biuf" and not name.startswith("__")
    }


def read_vectors(content: bytes, names: Sequence[str]) -> list[npt.NDArray[Any]]:
    """Return variables of equal length as one-dimensional arrays, in the order of `names`.

    Raises
    ------
    MissingExtraError, ValueError
        The same errors as those of `read_variables`; or a variable is missing or not a vector, or the lengths differ.
    """
    variables = read_variables(content, names)
    missing = [name for name in names if name not in variables]
    if missing:
        raise ValueError(f"the file has no numeric variable {' or '.join(missing)}")
    for name in names:
        if variables[name].size != max(variables[name].shape, default=0):
            raise ValueError(f"the variable {name} has the shape {variables[name].shape}, should be a vector")
    lengths = {name: variables[name].size for name in names}
    if len(set(lengths.values())) > 1:
        raise ValueError(
            "the variables differ in length: " + ", ".join(f"{name} has {n}" for name, n in lengths.items())
        )
    return [variables[name].ravel() for name in names]
