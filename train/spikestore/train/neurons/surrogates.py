"""Surrogate derivatives of spikes w.r.t. the membrane potential before the reset.

Parameters, defaults and the order of operations are those of ``sinabs.activation``, so a call of a surrogate returns
the same bits as Sinabs' surrogate. Any callable with the same signature works, including Sinabs' objects. The backend
``fused`` computes `SingleExponential` in its compiled passes, with a relative error of about 2e-7; it calls all other
surrogates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Surrogate(Protocol):
    """Protocol of a surrogate: the derivative of spikes w.r.t. the membrane potential."""

    def __call__(self, v_mem: Tensor, spike_threshold: Tensor) -> Tensor:
        """Return the derivative at each membrane potential; it has the shape of `v_mem`. `spike_threshold` has shape ()."""


@dataclass(frozen=True)
class SingleExponential:
    """Surrogate with an exponential decay on both sides of the threshold (Shrestha and Orchard, 2018, SLAYER).

    Attributes
    ----------
    grad_width : float
        Distance over which the derivative falls to 1/e, as a multiple of the threshold.
    grad_scale : float
        Integral of the derivative over the potentials on one side of the threshold.
    """

    grad_width: float = 0.5
    grad_scale: float = 1.0

    def __call__(self, v_mem: Tensor, spike_threshold: Tensor) -> Tensor:
        """Return the derivative at each membrane potential."""
        width = spike_threshold * self.grad_width
        return self.grad_scale / width * torch.exp(-torch.abs(v_mem - spike_threshold) / width)


@dataclass(frozen=True)
class PeriodicExponential:
    """Surrogate with an exponential decay around 1, 2, 3, … times the threshold (Weidel and Sheik, 2021, WaveSense).

    Attributes
    ----------
    grad_width : float
        Difference of membrane potential. Below the threshold, the derivative falls to 1/e of `grad_scale` over this difference.
        Above the threshold, it falls to 1/e over half of this difference, on both sides of each multiple of the threshold.
    grad_scale : float
        Value of the derivative at 1, 2, 3, … times the threshold.
    """

    grad_width: float = 0.5
    grad_scale: float = 1.0

    def __call__(self, v_mem: Tensor, spike_threshold: Tensor) -> Tensor:
        """Return the derivative at each membrane potential."""
        periods = v_mem / spike_threshold - 0.5
        periodic = spike_threshold * (2 * (periods - torch.floor(periods)) - 1)
        below = (v_mem - spike_threshold) * (v_mem < spike_threshold)
        away = periodic * (v_mem >= spike_threshold) + below
        return self.grad_scale * torch.exp(-torch.abs(away) / self.grad_width)


@dataclass(frozen=True)
class Heaviside:
    """Surrogate whose derivative is 1 / threshold if the potential is at least threshold - window, and 0 otherwise.

    Attributes
    ----------
    window : float
        Distance below the threshold at which the derivative begins, in the unit of the membrane potential.
    """

    window: float = 1.0

    def __call__(self, v_mem: Tensor, spike_threshold: Tensor) -> Tensor:
        """Return the derivative at each membrane potential."""
        return (v_mem >= (spike_threshold - self.window)).float() / spike_threshold


@dataclass(frozen=True)
class Gaussian:
    """Surrogate derivative with the shape of a Gaussian, as a function of (membrane potential - threshold).

    Attributes
    ----------
    mu, sigma : float
        Mean and standard deviation of the Gaussian.
    grad_scale : float
        Integral of the surrogate derivative.
    """

    mu: float = 0.0
    sigma: float = 0.5
    grad_scale: float = 1.0

    def __call__(self, v_mem: Tensor, spike_threshold: Tensor) -> Tensor:
        """Return the derivative at each membrane potential."""
        return _bell(v_mem - spike_threshold, self.mu, self.sigma) * self.grad_scale


@dataclass(frozen=True)
class MultiGaussian:
    """Surrogate: a Gaussian around the threshold, minus a wider Gaussian on each side (Yin, Corradi and Bohté, 2021).

    Attributes
    ----------
    mu, sigma : float
        Mean and standard deviation of the central Gaussian, counted from the threshold.
    h : float
        Weight of each wider Gaussian; the weight of the central Gaussian is 1 + h.
    s : float
        Standard deviation of the wider Gaussians, divided by `sigma`. Their means are `sigma` and -`sigma` from the threshold, whatever
        `mu` is.
    grad_scale : float
        Factor for the result.
    """

    mu: float = 0.0
    sigma: float = 0.5
    h: float = 0.15
    s: float = 6.0
    grad_scale: float = 1.0

    def __call__(self, v_mem: Tensor, spike_threshold: Tensor) -> Tensor:
        """Return the derivative at each membrane potential."""
        away, wide = v_mem - spike_threshold, self.s * self.sigma
        middle = (1 + self.h) * _bell(away, self.mu, self.sigma)
        sides = middle - self.h * _bell(away, self.sigma, wide) - self.h * _bell(away, -self.sigma, wide)
        return sides * self.grad_scale


def _bell(x: Tensor, mu: float, sigma: float) -> Tensor:
    # The root stays a tensor: in float32 it differs from Python's.
    return torch.exp(-((x - mu) ** 2) / (2 * sigma**2)) / (sigma * torch.sqrt(2 * torch.tensor(math.pi)))


def is_known(surrogate: Surrogate) -> bool:
    """Return whether a surrogate is from this module or Sinabs; such a surrogate has no side effects."""
    kind = type(surrogate)
    return kind in _KINDS or kind.__module__.startswith("sinabs.activation")


_KINDS = (SingleExponential, PeriodicExponential, Heaviside, Gaussian, MultiGaussian)


def as_single_exponential(surrogate: Surrogate) -> SingleExponential | None:
    """Return `surrogate` as a `SingleExponential` if it is a single exponential of this module or of Sinabs, else None.

    The result is also None for objects of subclasses, because a subclass may have another derivative.
    """
    if type(surrogate) is SingleExponential:
        return surrogate
    kind = type(surrogate)
    if kind.__name__ == "SingleExponential" and kind.__module__.startswith("sinabs."):
        return SingleExponential(surrogate.grad_width, surrogate.grad_scale)  # type: ignore[attr-defined]
    return None
