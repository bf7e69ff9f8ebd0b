"""Dense frames on a GPU, written by one kernel that Triton compiles at its first use.

The same work in torch operations starts about twenty kernels for a batch; starting these kernels takes longer than
running them.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

_BLOCK, _PARTS = 512, 8
"""Non-zeros that an instance of the kernel writes at a time, and instances for each sample."""


@triton.jit  # type: ignore[untyped-decorator]
def _fill(
    index_at, value_at, starts_at, ends_at, frames_at, places,
    index_mask: tl.constexpr, value_mask: tl.constexpr, parts: tl.constexpr, block: tl.constexpr,
):  # fmt: skip
    sample = tl.program_id(0).to(tl.int64)
    end = tl.load(ends_at + sample)
    place = tl.load(starts_at + sample) + tl.program_id(1) * block + tl.arange(0, block)
    for _ in range(tl.cdiv(end - tl.load(starts_at + sample), parts * block)):
        inside = place < end
        index = tl.load(index_at + place, mask=inside, other=0).to(tl.int64)
        value = tl.load(value_at + place, mask=inside, other=0)
        # Columns of unsigned integers are signed views of the same bytes.
        if index_mask != 0:
            index = index & index_mask
        if value_mask != 0:
            value = value.to(tl.int64) & value_mask
        inside = inside & (index >= 0) & (index < places)
        tl.store(frames_at + sample * places + index, value.to(tl.float32), mask=inside)
        place += parts * block


def fill(index: Tensor, value: Tensor, starts: Tensor, ends: Tensor, frames: Tensor) -> None:
    """Write the non-zeros of a batch to its frames.

    A sample must not have two non-zeros at the same place. A non-zero whose index is not
    below the number of places is left out.

    Parameters
    ----------
    index, value, starts, ends : Tensor
        As in `StoredSamples`.
    frames : float32 Tensor, shape (batch, places)
        Zeros.
    """
    if len(starts) and frames.shape[1]:
        masks = mask_of_view(index), mask_of_view(value)
        _fill[(len(starts), _PARTS)](
            index, value, starts, ends, frames, frames.shape[1], *masks, _PARTS, _BLOCK
        )


def mask_of_view(column: Tensor) -> int:
    """Return the mask that turns a signed view (`signed_view`) back into unsigned integers; 0 if the column is not a signed view."""
    return {torch.int16: 0xFFFF, torch.int32: 0xFFFF_FFFF}.get(column.dtype, 0)
