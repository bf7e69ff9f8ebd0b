"""Models from TOML files: recipes and training configurations."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TypeVar

from spikestore.store_schemas.errors import SourceNotFoundError, SpecError
from spikestore.store_schemas.specs.model import Spec
from spikestore.store_schemas.wording import did_you_mean

_Model = TypeVar("_Model", bound=Spec)


def model_in_toml(model: type[_Model], path: Path | str, what: str) -> _Model:
    """Return the model in a TOML file.

    Parameters
    ----------
    model : type
        A subclass of `Spec`.
    path : path
        The file, UTF-8; it may begin with a byte order mark.
    what : str
        What the file is, for messages: ``recipe``.

    Raises
    ------
    SourceNotFoundError
        The file does not exist or cannot be read.
    SpecError
        The file is not TOML, or does not fit the model; the message lists every problem with the path of its field.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")  # editors on Windows write a byte order mark
    except IsADirectoryError:
        raise SourceNotFoundError(
            f"the {what} {path} is a folder: pass a TOML file", path=str(path)
        ) from None
    except (FileNotFoundError, NotADirectoryError):
        raise SourceNotFoundError(f"no {what} at {path}{_near(path)}", path=str(path)) from None
    except OSError as error:
        raise SourceNotFoundError(
            f"cannot read the {what} {path}: {error.strerror}", path=str(path)
        ) from error
    except UnicodeDecodeError as error:
        raise SpecError(f"{path} is not UTF-8 text: {error}", path=str(path)) from None
    try:
        mapping = tomllib.loads(text)
    # Also for a number of thousands of digits, or deeply nested lists.
    except (ValueError, RecursionError) as error:
        raise SpecError(f"{path} is not TOML: {error}", path=str(path)) from None
    try:
        return model.from_mapping(mapping, origin=str(path))
    except RecursionError:
        raise SpecError(f"{path} is not a {what}: its tables are nested too deeply", path=str(path)) from None


def _near(path: Path) -> str:
    files = [str(file) for file in sorted(path.parent.glob("*.toml"))] if path.parent.is_dir() else []
    return did_you_mean(str(path), files, cutoff=0.0)
