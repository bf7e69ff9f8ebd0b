"""Layers that know no time: it is folded into the batch for them."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import avg_pool2d


class FoldedConv2d(nn.Conv2d):
    """``Conv2d`` of each time bin: (batch, time, channels, y, x) in and out."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the convolved frames."""
        convolved: Tensor = super().forward(input.flatten(0, 1)).unflatten(0, input.shape[:2])
        return convolved


class SumPool2d(nn.Module):
    """Sums, or averages, of square windows of each time bin: (batch, time, channels, y, x) in and out.

    Sums of spikes are exact; ``sinabs.layers.SumPool2d`` takes them through powers and roots.

    Parameters
    ----------
    size : int
        Side and stride of the window.
    average : bool
        Whether to divide by its area.
    """

    def __init__(self, size: int, *, average: bool = False) -> None:
        super().__init__()
        self.size, self.average = size, average

    def forward(self, x: Tensor) -> Tensor:
        """Return the pooled frames."""
        divisor = None if self.average else 1
        pooled = avg_pool2d(x.flatten(0, 1), self.size, divisor_override=divisor)
        unfolded: Tensor = pooled.unflatten(0, x.shape[:2])
        return unfolded

    def extra_repr(self) -> str:
        """Return the parameters."""
        return f"{self.size}, average={self.average}"
