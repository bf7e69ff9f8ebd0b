"""A PCodec codec that never decodes more numbers than the chunk's shape allows.

A pco file of two megabytes can decode to a hundred gigabytes. Zarr's own codec decodes all numbers of a file before it checks
the chunk's shape.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import zarr.registry
from pcodec import standalone
from zarr.codecs.numcodecs import PCodec

if TYPE_CHECKING:
    from zarr.core.array_spec import ArraySpec
    from zarr.core.buffer import Buffer, NDBuffer

_STORED, _OURS = "numcodecs.pcodec", "spikestore.bounded_pcodec"


class BoundedPCodec(PCodec, codec_name="pcodec"):
    """PCodec that raises an error instead of decoding more numbers than the chunk has."""

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Return the codec that the array's metadata describe."""
        return super().from_dict({**data, "name": _STORED})

    async def _decode_single(self, chunk_data: Buffer, chunk_spec: ArraySpec) -> NDBuffer:
        size = math.prod(chunk_spec.shape)
        out: Any = np.empty(size, chunk_spec.dtype.to_native_dtype())
        progress = await asyncio.to_thread(standalone.simple_decompress_into, chunk_data.to_bytes(), out)
        if progress.n_processed != size or not progress.finished:
            raise ValueError(
                f"a chunk must have {size} numbers, got {'fewer' if progress.finished else 'more'}"
            )
        return chunk_spec.prototype.nd_buffer.from_ndarray_like(out.reshape(chunk_spec.shape))


zarr.registry.register_codec(_OURS, BoundedPCodec)


def bounded(document: Any) -> Any:
    """Return the Zarr metadata `document` with the codec `BoundedPCodec` in place of PCodec.

    If Zarr uses the codec pipeline of zarrs, the metadata are unchanged, because zarrs has its own codecs.
    """
    if "zarrs" in str(zarr.config.get("codec_pipeline.path", "")).lower():
        return document
    return _renamed(document)


def _renamed(document: Any) -> Any:
    if isinstance(document, list):
        return [_renamed(item) for item in document]
    if isinstance(document, dict):
        renamed = {name: _renamed(member) for name, member in document.items()}
        return {**renamed, "name": _OURS} if document.get("name") == _STORED else renamed
    return document
