"""Layers that treat each time bin separately, by merging the axes batch and time."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import avg_pool2d


class FoldedConv2d(nn.Conv2d):
    """``Conv2d`` for each time bin; input and output have the shape (batch, time, channels, y, x)."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the convolved frames."""
        convolved: Tensor = super().forward(input.flatten(0, 1)).unflatten(0, input.shape[:2])
        return convolved


class SumPool2d(nn.Module):
    """Sums or averages of square windows in each time bin; input and output have the shape (batch, time, channels, y, x).

    Sums of spikes are exact in this layer. ``sinabs.layers.SumPool2d`` computes sums with powers and roots, which are
    rounded.

    Parameters
    ----------
    size : int
        Side and stride of the window.
    average : bool
        Whether to divide by the window's area.
    """

    def __init__(self, size: int, *, average: bool = False) -> None:
        super().__init__()
        self.size, self.average = size, average

    def forward(self, x: Tensor) -> Tensor:
        """Return the pooled frames."""
        if x.device.type == "cpu":
            sums: Tensor = _SumWindows.apply(x, self.size)  # type: ignore[no-untyped-call]
            return sums / self.size**2 if self.average else sums
        divisor = None if self.average else 1
        pooled = avg_pool2d(x.flatten(0, 1), self.size, divisor_override=divisor)
        unfolded: Tensor = pooled.unflatten(0, x.shape[:2])
        return unfolded

    def extra_repr(self) -> str:
        """Return the parameters for ``repr``."""
        return f"{self.size}, average={self.average}"


class _SumWindows(torch.autograd.Function):
    """Autograd function that sums windows by rows, then by columns; torch's pooling on a CPU takes three times as long."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, size: int) -> Tensor:
        ctx.shape, ctx.size = x.shape, size
        height, width = (side // size * size for side in x.shape[-2:])
        rows = x[..., 0:height:size, :width].clone()
        for index in range(1, size):
            rows += x[..., index:height:size, :width]
        sums = rows[..., ::size].clone()
        for index in range(1, size):
            sums += rows[..., index::size]
        return sums

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        size = ctx.size
        height, width = (side * size for side in gradient.shape[-2:])
        wide = gradient.unsqueeze(-1).expand(*gradient.shape, size).flatten(-2)
        # Rows and columns after the last whole window have a gradient of 0.
        x = (
            gradient.new_empty(ctx.shape)
            if (height, width) == ctx.shape[-2:]
            else gradient.new_zeros(ctx.shape)
        )
        for index in range(size):
            x[..., index:height:size, :width] = wide
        return x, None
