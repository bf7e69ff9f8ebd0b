"""What one neuron does in one time step, forwards and backwards: parts of the loops of every compiled pass.

The equations are those of `spikestore.train.neurons.dynamics`. All numbers are float32. The flags are constants where a loop
calls these functions, so that the compiler removes their branches there and vectorises the loop.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from spikestore.train.neurons.cpu.compile import LEAST, ONE, TINY, ZERO, exp_minus, inner


@inner
def fire(v: Any, threshold: Any, inverse: Any, single: Any, by_product: Any) -> Any:
    """Return s(t), the number of spikes; ``inverse`` is ``1 / threshold``, used if `by_product`."""
    if single:
        return ONE if v - threshold >= ZERO else ZERO
    whole = np.trunc(v * inverse if by_product else v / threshold)
    # A product and no choice: NaN and -inf must come through as they do in Sinabs.
    return (ONE if v > ZERO else ZERO) * whole


@inner
def does_fire(v: Any, threshold: Any, single: Any) -> Any:
    """Return 0 where `fire` returns 0, and 1 elsewhere: what a reset to zero depends on, without a division."""
    if single:
        return ONE if v - threshold >= ZERO else ZERO
    # No quotient of a float below the threshold is rounded up to 1: it spikes from there on.
    # NaN and -inf have no whole number of thresholds.
    return ZERO if LEAST <= v < threshold else ONE


@inner
def after_reset(v: Any, spike: Any, reset: Any, to_zero: Any) -> Any:
    """Return r(t), the potential after the reset."""
    if to_zero:
        return v * (ONE if spike == ZERO else ZERO) + reset
    return v - spike * reset


@inner
def not_below(v: Any, minimum: Any) -> Any:
    """Return v'(t), the potential where there is a minimum."""
    above = v - minimum
    return (ZERO if above <= ZERO else above) + minimum


@inner
def slope_at(v: Any, threshold: Any, scale: Any, width: Any, by_width: Any) -> Any:
    """Return sg(t), the surrogate ``scale * exp(-|v - threshold| / width)``; `width` is its inverse if `by_width`."""
    away = abs(v - threshold)
    return scale * exp_minus(away * width if by_width else away / width)


@inner
def through_reset(
    later: Any, v: Any, spike: Any, reset: Any, minimum: Any, bounded: Any, to_zero: Any
) -> Any:
    """Return c(t) · d(t+1) from `later`, d(t+1); for reset to zero 0 where the neuron spiked."""
    if bounded:
        later = ZERO if after_reset(v, spike, reset, to_zero) - minimum <= ZERO else later
    if to_zero:
        later *= ONE if spike == ZERO else ZERO
    return later


@inner
def through_spike(later: Any, gradient: Any, slope: Any, reset: Any, to_zero: Any) -> Any:
    """Return d(t) from what `through_reset` returned, the gradient by the spikes g(t), and sg(t)."""
    later += (gradient if to_zero else gradient - later * reset) * slope
    return ZERO if abs(later) < TINY else later
