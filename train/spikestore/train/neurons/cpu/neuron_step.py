"""One time step of a neuron, forward and backward: functions that all compiled passes call.

The equations are those of `spikestore.train.neurons.dynamics`. All numbers are float32. Callers pass constants for
the flags, such as `single`, so that the compiler removes the branches and vectorises the loop.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from spikestore.train.neurons.cpu.compile import LEAST, ONE, TINY, ZERO, exp_minus, inner


@inner
def fire(v: Any, threshold: Any, inverse: Any, single: Any, by_product: Any) -> Any:
    """Return s(t), the number of spikes. If `by_product` is true, `v` is multiplied by `inverse`, 1 / threshold, instead of divided by `threshold`."""
    if single:
        return ONE if v - threshold >= ZERO else ZERO
    whole = np.trunc(v * inverse if by_product else v / threshold)
    # A product instead of a branch: NaN and -inf must propagate as in Sinabs.
    return (ONE if v > ZERO else ZERO) * whole


@inner
def does_fire(v: Any, threshold: Any, single: Any) -> Any:
    """Return 1 if the neuron spikes once or several times, else 0. A reset to zero needs only this; counting the spikes would need a division."""
    if single:
        return ONE if v - threshold >= ZERO else ZERO
    # The quotient of a float below the threshold is never rounded up to 1.
    # NaN and -inf contain no whole number of thresholds.
    return ZERO if LEAST <= v < threshold else ONE


@inner
def after_reset(v: Any, spike: Any, reset: Any, to_zero: Any) -> Any:
    """Return the potential after the reset: r(t) in `spikestore.train.neurons.dynamics`."""
    if to_zero:
        return v * (ONE if spike == ZERO else ZERO) + reset
    return v - spike * reset


@inner
def not_below(v: Any, minimum: Any) -> Any:
    """Return v'(t): the potential `v`, or `minimum` if `v` is smaller."""
    above = v - minimum
    return (ZERO if above <= ZERO else above) + minimum


@inner
def slope_at(v: Any, threshold: Any, scale: Any, width: Any, by_width: Any) -> Any:
    """Return the surrogate ``scale * exp(-|v - threshold| / w)``: sg(t) in `dynamics`. If `by_width` is true, w is 1 / `width`, else `width`."""
    away = abs(v - threshold)
    return scale * exp_minus(away * width if by_width else away / width)


@inner
def through_reset(
    later: Any, v: Any, spike: Any, reset: Any, minimum: Any, bounded: Any, to_zero: Any
) -> Any:
    """Return the gradient that step t gets from step t + 1: c(t) · d(t+1) in the equations of `dynamics`; `later` is d(t+1).

    With reset to zero, the result is 0 if the neuron spiked.
    """
    if bounded:
        later = ZERO if after_reset(v, spike, reset, to_zero) - minimum <= ZERO else later
    if to_zero:
        later *= ONE if spike == ZERO else ZERO
    return later


@inner
def through_spike(later: Any, gradient: Any, slope: Any, reset: Any, to_zero: Any) -> Any:
    """Return the gradient w.r.t. the input of step t: d(t) in the equations of `dynamics`.

    `later` is the result of `through_reset`, `gradient` is the gradient w.r.t. the spikes, and `slope` is the surrogate.
    """
    later += (gradient if to_zero else gradient - later * reset) * slope
    return ZERO if abs(later) < TINY else later
