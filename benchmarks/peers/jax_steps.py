"""Training steps of the network of ``benchmarks.seed`` in JAX: ``python -m …jax_steps BATCH.npz DEVICE UNROLL[,UNROLL…]``.

One jitted function computes a step: ``lax.scan`` over time, the loss, its gradients and AdamW. The function is compiled
for each UNROLL, and the fastest compiled function is taken. Neurons, surrogate and loss are the defaults of Sinabs,
which are also the defaults of spikestore.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import Any

from benchmarks.peers.serve import answers, serve

WIDTH, SCALE = 0.5, 1.0
"""Width and scale of the surrogate, Sinabs' ``SingleExponential``."""


def main(batch: str, device: str, unrolls: str) -> None:
    """Choose the fastest of `unrolls`. Then, for each line of standard input, take three steps and print the samples/s of the fastest step."""
    stream = answers()
    os.environ["JAX_PLATFORMS"] = device
    import jax
    import numpy as np

    with np.load(batch) as found:
        arrays = {name: found[name] for name in found.files}
    count = sum(name.startswith("weight") for name in arrays)
    layers = [(arrays[f"weight{place}"].T, arrays[f"bias{place}"]) for place in range(count)]
    x = jax.device_put(arrays["frames"].astype(np.float32).transpose(1, 0, 2))
    labels = jax.device_put(arrays["labels"])

    fastest: tuple[float, int, Callable[[], float], float] | None = None
    for unroll in map(int, unrolls.split(",")):
        take, loss = _steps(jax, layers, x, labels, unroll)
        seconds = min(take() for _ in range(3))
        if fastest is None or seconds < fastest[0]:
            fastest = seconds, unroll, take, loss
    if fastest is None:
        raise SystemExit("no unroll was given")
    _, unroll, take, loss = fastest
    serve(
        stream,
        lambda: len(labels) / min(take() for _ in range(3)),
        unroll=unroll,
        loss=loss,
        jax=jax.__version__,
    )


def _steps(jax: Any, layers: Any, x: Any, labels: Any, unroll: int) -> tuple[Callable[[], float], float]:
    """Run one training step. Return two results: a function that runs the next step and returns its duration in s; and the loss of the first step.

    `layers` has weight and bias of each linear layer; `unroll` is the argument of ``lax.scan`` in the loop over time.
    """
    jnp, lax = jax.numpy, jax.lax

    @jax.custom_jvp  # type: ignore[untyped-decorator]
    def fire(v: Any) -> Any:
        return jnp.where(v > 0, jnp.trunc(v), 0.0)

    @fire.defjvp  # type: ignore[untyped-decorator]
    def _surrogate(values: Any, tangents: Any) -> Any:
        (v,), (tangent,) = values, tangents
        return fire(v), SCALE / WIDTH * jnp.exp(-jnp.abs(v - 1.0) / WIDTH) * tangent

    def neurons(inputs: Any) -> Any:
        def one(v: Any, step: Any) -> Any:
            v = v + step
            spikes = fire(v)
            return v - spikes, spikes

        return lax.scan(one, jnp.zeros_like(inputs[0]), inputs, unroll=unroll)[1]

    def loss_of(weights: Any) -> Any:
        hidden = x
        for weight, bias in weights[:-1]:
            hidden = neurons(hidden @ weight + bias)
        outputs = (hidden @ weights[-1][0] + weights[-1][1]).sum(0)
        chosen = jnp.take_along_axis(jax.nn.log_softmax(outputs), labels[:, None], 1)
        return -chosen.mean()

    def adamw(weight: Any, gradient: Any, first: Any, second: Any, step: Any) -> Any:
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        change = first / (1 - 0.9**step) / (jnp.sqrt(second / (1 - 0.999**step)) + 1e-8)
        return weight * (1 - 1e-3 * 1e-2) - 1e-3 * change, first, second

    @jax.jit  # type: ignore[untyped-decorator]
    def update(weights: Any, first: Any, second: Any, step: Any) -> Any:
        loss, gradients = jax.value_and_grad(loss_of)(weights)
        changed = jax.tree.map(lambda w, g, m, v: adamw(w, g, m, v, step), weights, gradients, first, second)
        shape = jax.tree.structure(weights)
        parts = zip(
            *jax.tree.leaves(changed, is_leaf=lambda one: isinstance(one, tuple) and len(one) == 3),
            strict=True,
        )
        return loss, *(jax.tree.unflatten(shape, list(part)) for part in parts)

    weights = jax.tree.map(jnp.asarray, [list(layer) for layer in layers])
    zeros = jax.tree.map(jnp.zeros_like, weights)
    state = [weights, zeros, zeros, jnp.asarray(1.0)]

    def take() -> float:
        began = time.perf_counter()
        loss, *rest = update(*state)
        jax.block_until_ready((loss, rest))
        state[:3], state[3] = rest, state[3] + 1
        take.loss = float(loss)  # type: ignore[attr-defined]
        return time.perf_counter() - began

    take()
    first_loss: float = take.loss  # type: ignore[attr-defined]
    return take, first_loss


if __name__ == "__main__":
    main(*sys.argv[1:])
