"""A checkpoint's state put back into a network, its optimiser and torch's generators; what does not fit is told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from spikestore.store_schemas.errors import DamagedError, SpikestoreError, UsageError
from spikestore.train.data.loader import FeatureLoader
from spikestore.train.data.placement import Chosen, Residence
from spikestore.train.models.networks import load_weights, weights
from spikestore.train.runs.checkpoint.checkpoint import Checkpoint, restore_random_states
from spikestore.train.runs.precision import Arithmetic

_MOMENTS = ("exp_avg", "exp_avg_sq")
"""What AdamW holds of each number of a parameter."""


def restore_weights(network: nn.Module, checkpoint: Checkpoint) -> None:
    """Give a network the parameters of a checkpoint.

    Raises
    ------
    DamagedError
        They are not those of a network of the checkpoint's configuration.
    """
    with _naming(checkpoint):
        saved, current = checkpoint.weights, weights(network)
        odd = min(current.keys() ^ saved.keys(), default=None)
        if odd is not None:
            raise ValueError(f"weights: {odd} is {'missing' if odd in current else 'not of this network'}")
        trained = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
        for name, value in current.items():
            _refuse_other_shape(f"weights: {name}", saved[name], value)
            if name not in trained and not torch.equal(saved[name].cpu(), value.cpu()):
                raise ValueError(
                    f"weights: {name} should be {value.tolist()} as in the configuration, "
                    f"found {saved[name].tolist()}"
                )
        load_weights(network, saved)


def restore_run(
    network: nn.Module, optimiser: torch.optim.Optimizer, arithmetic: Arithmetic, checkpoint: Checkpoint
) -> None:
    """Go on as the run of a checkpoint would have: weights, optimiser, scale of losses, and random numbers.

    Raises
    ------
    DamagedError
        Something does not fit.
    """
    restore_weights(network, checkpoint)
    with _naming(checkpoint):
        _restore_optimiser(optimiser, checkpoint)
    with _naming(checkpoint, "scaler: "):
        arithmetic.restore(checkpoint.scaler)
    with _naming(checkpoint, "random: "):
        restore_random_states(checkpoint.random)


def restore_position(loader: FeatureLoader, checkpoint: Checkpoint, residence: Residence) -> None:
    """Let a loader of the run's train split go on where the run stopped, in the order in which its epoch began.

    Parameters
    ----------
    loader : FeatureLoader
        Of the same feature set.
    checkpoint : Checkpoint
        Where to go on.
    residence : {"auto", "host", "device", "stream"}
        What the configuration says now; see `began_with`.

    Raises
    ------
    UsageError
        0.1.0.dev0 wrote the checkpoint, and the order is not known.
    DamagedError
        The loader's state is not one of this run.
    """
    position, state = checkpoint.position, checkpoint.loader
    if state is None:
        residence_then = began_with(checkpoint, residence) if position.batch else "host"
        state = loader.state_at(position.epoch, position.batch, residence_then)
    try:
        if (state.get("epoch"), state.get("batch")) != (position.epoch, position.batch):
            raise UsageError(f"not at epoch {position.epoch}, batch {position.batch} as position")
        loader.load_state_dict(state)
    except UsageError as error:
        raise DamagedError(
            f"{checkpoint.origin} is damaged, or not a checkpoint of this run: loader: {error}",
            objects=(checkpoint.origin,),
        ) from error


def began_with(checkpoint: Checkpoint, residence: Residence) -> Chosen:
    """Return the residence with which the epoch of a checkpoint without a loader's state began.

    What 0.1.0.dev0 wrote has none. The order is known if its configuration named a residence. If that was ``auto``, the
    one that the configuration names now is taken, because only the user can tell.

    Raises
    ------
    UsageError
        Both are ``auto``.
    """
    then = checkpoint.config.data.residence
    named = then if then != "auto" else residence
    if named == "auto":
        raise UsageError(
            f"{checkpoint.origin} was written in mid-epoch by an early version, with residence 'auto', and does not say "
            "which order the epoch has. If the log of that run says 'streamed from the store', resume with --residence "
            "stream, if it says 'kept on the host' or 'kept on the device', with --residence host; or begin anew with "
            "--restart",
            path=checkpoint.origin,
        )
    return named


def _restore_optimiser(optimiser: torch.optim.Optimizer, checkpoint: Checkpoint) -> None:
    saved, fresh = checkpoint.optimiser, optimiser.state_dict()
    groups, states = saved.get("param_groups"), saved.get("state")
    same = isinstance(groups, list) and [*map(_numbers, groups)] == [*map(_numbers, fresh["param_groups"])]
    if not same or not isinstance(states, dict):
        raise ValueError("optimiser: param_groups are not those of this network, or there is no state")
    parameters = dict(
        enumerate(parameter for group in optimiser.param_groups for parameter in group["params"])
    )
    trained = {number for number, parameter in parameters.items() if parameter.requires_grad}
    # With float16 the first steps may have been left out, while the scale of losses was too large.
    if states.keys() != trained and (states or checkpoint.config.precision != "float16"):
        raise ValueError("optimiser: state is not that of the parameters of this network")
    for number, state in states.items():
        if not isinstance(state, dict) or state.keys() != {"step", *_MOMENTS}:
            raise ValueError(f"optimiser: state of parameter {number} is not that of AdamW")
        _refuse_other_shape(f"optimiser: step of parameter {number}", state["step"], torch.zeros(()))
        for name in _MOMENTS:
            _refuse_other_shape(f"optimiser: {name} of parameter {number}", state[name], parameters[number])
    # Learning rate and the like are those of the configuration, which is that of the run.
    optimiser.load_state_dict({"state": states, "param_groups": fresh["param_groups"]})


def _numbers(group: Any) -> Any:
    return group.get("params") if isinstance(group, dict) else None


def _refuse_other_shape(name: str, found: object, wanted: Tensor) -> None:
    if not isinstance(found, Tensor) or (found.shape, found.dtype) != (wanted.shape, wanted.dtype):
        what = f"{found.dtype} {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
        raise ValueError(f"{name} should be {wanted.dtype} {tuple(wanted.shape)}, found {what}")
    if not torch.isfinite(found).all():
        raise ValueError(f"{name} has numbers that are not finite")


@contextmanager
def _naming(checkpoint: Checkpoint, part: str = "") -> Iterator[None]:
    """Say which file it is that does not fit; torch's own errors name none."""
    try:
        yield
    except (SpikestoreError, torch.OutOfMemoryError):
        raise  # says what it is itself
    except (ValueError, TypeError, KeyError, AttributeError, RuntimeError) as error:
        why = " ".join(str(error).split())
        raise DamagedError(
            f"{checkpoint.origin} is damaged, or not a checkpoint of this run: {part}{why}",
            objects=(checkpoint.origin,),
        ) from error
