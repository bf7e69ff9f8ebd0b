"""A digest of a checkpoint's content, which detects flipped bits: torch loads files without checking CRCs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor


def content_digest(content: Mapping[str, Any]) -> str:
    """Return the SHA-256 of plain values and tensors. It covers their types, shapes, numbers, names and order.

    The digest depends neither on how torch writes the values to a file nor on the device of the tensors.

    Parameters
    ----------
    content : mapping of str
        Values are None, bool, int, float, str and tensors, and dicts, lists and tuples of such values.

    Returns
    -------
    str
        64 hexadecimal digits.

    Raises
    ------
    TypeError
        The content has a value of another type.
    """
    digest = hashlib.sha256()
    _feed(content, digest.update)
    return digest.hexdigest()


def _feed(value: object, update: Callable[[Any], None]) -> None:
    """Hash the type, the length and the content of a value. Without type and length, different values could be hashed as the same bytes."""
    if isinstance(value, Tensor):
        # Without strides: equal numbers may be laid out in several ways.
        update(f"tensor {value.dtype} {tuple(value.shape)} {value.requires_grad}\n".encode())
        update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    elif isinstance(value, Mapping):
        update(f"mapping {len(value)}\n".encode())
        for name, member in value.items():
            _feed(name, update)
            _feed(member, update)
    elif isinstance(value, list | tuple):
        update(f"{type(value).__name__} {len(value)}\n".encode())
        for member in value:
            _feed(member, update)
    elif value is None or type(value) in (bool, int, float, str):
        text = repr(value).encode()
        update(f"{type(value).__name__} {len(text)}\n".encode() + text)
    else:
        raise TypeError(f"a checkpoint can't hold {type(value).__name__}")
