"""Restores a network, its optimiser and torch's generators from a checkpoint; errors name the part that does not fit."""

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
from spikestore.train.runs.checkpoint.checkpoint import OTHER_CHECKPOINT, Checkpoint, restore_random_states
from spikestore.train.runs.precision import Arithmetic

_MOMENTS = ("exp_avg", "exp_avg_sq")
"""Tensors that AdamW keeps for each parameter."""


def restore_weights(network: nn.Module, checkpoint: Checkpoint) -> None:
    """Load the parameters of a checkpoint into a network.

    Raises
    ------
    DamagedError
        The parameters are not those of a network with the checkpoint's configuration.
    """
    with _naming(checkpoint):
        saved, current = checkpoint.weights, weights(network)
        odd = min(current.keys() ^ saved.keys(), default=None)
        if odd is not None:
            raise ValueError(
                f"weights: {odd} {'is missing' if odd in current else 'does not belong to this network'}"
            )
        trained = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
        for name, value in current.items():
            _refuse_other_shape(f"weights: {name}", saved[name], value)
            if name not in trained and not torch.equal(saved[name].cpu(), value.cpu()):
                raise ValueError(
                    f"weights: {name} must be {value.tolist()} as in the configuration, got {saved[name].tolist()}"
                )
        load_weights(network, saved)


def restore_run(
    network: nn.Module, optimiser: torch.optim.Optimizer, arithmetic: Arithmetic, checkpoint: Checkpoint
) -> None:
    """Restore weights, optimiser, loss scale and random states of a checkpoint, so that training resumes exactly.

    Raises
    ------
    DamagedError
        A part does not fit the network or its optimiser.
    """
    restore_weights(network, checkpoint)
    with _naming(checkpoint):
        _restore_optimiser(optimiser, checkpoint)
    with _naming(checkpoint, "scaler: "):
        arithmetic.restore(checkpoint.scaler)
    with _naming(checkpoint, "random: "):
        restore_random_states(checkpoint.random)


def restore_position(loader: FeatureLoader, checkpoint: Checkpoint, residence: Residence) -> None:
    """Move a loader of the training split to the position of a checkpoint. The rest of the epoch keeps its order of samples.

    Parameters
    ----------
    loader : FeatureLoader
        Loader of the feature set on which the run of the checkpoint trains.
    checkpoint : Checkpoint
        Checkpoint to resume from.
    residence : {"auto", "host", "device", "stream"}
        Residence of the current configuration; see `began_with`.

    Raises
    ------
    UsageError
        Version 0.1.0.dev0 wrote the checkpoint, and the order of its epoch is unknown.
    DamagedError
        The state of the loader in the checkpoint is invalid, or does not fit the position or `loader`.
    """
    position, state = checkpoint.position, checkpoint.loader
    if state is None:
        residence_then = began_with(checkpoint, residence) if position.batch else "host"
        state = loader.state_at(position.epoch, position.batch, residence_then)
    try:
        if (state.get("epoch"), state.get("batch")) != (position.epoch, position.batch):
            raise UsageError(f"its position must be epoch {position.epoch}, batch {position.batch}")
        loader.load_state_dict(state)
    except UsageError as error:
        raise DamagedError(
            f"{checkpoint.origin} is damaged, or not a checkpoint of this run (state of the loader: {error}); {OTHER_CHECKPOINT}",
            objects=(checkpoint.origin,),
        ) from error


def began_with(checkpoint: Checkpoint, residence: Residence) -> Chosen:
    """Return the residence that the loader had when the epoch began, for a checkpoint without loader state.

    Checkpoints of version 0.1.0.dev0 have no loader state, but they have the configuration of the run. If the residence in
    that configuration is ``auto``, the checkpoint does not tell which residence the loader had; then `residence`, the
    residence in the current configuration, is returned.

    Raises
    ------
    UsageError
        The residence is ``auto`` in both configurations.
    """
    then = checkpoint.config.data.residence
    named = then if then != "auto" else residence
    if named == "auto":
        raise UsageError(
            f"{checkpoint.origin} was written within an epoch by an early version of spikestore, with residence 'auto', so the order of "
            "the epoch is unknown. If the log of that run has 'streamed from the store', resume with --residence stream. "
            "If it has 'kept on the host' or 'kept on the device', resume with --residence host. Otherwise start over with --restart",
            path=checkpoint.origin,
        )
    return named


def _restore_optimiser(optimiser: torch.optim.Optimizer, checkpoint: Checkpoint) -> None:
    saved, fresh = checkpoint.optimiser, optimiser.state_dict()
    groups, states = saved.get("param_groups"), saved.get("state")
    same = isinstance(groups, list) and [*map(_numbers, groups)] == [*map(_numbers, fresh["param_groups"])]
    if not same or not isinstance(states, dict):
        raise ValueError("optimiser: param_groups are not those of this network, or state is missing")
    parameters = dict(
        enumerate(parameter for group in optimiser.param_groups for parameter in group["params"])
    )
    trained = {number for number, parameter in parameters.items() if parameter.requires_grad}
    # With float16 the first steps may have been skipped while the loss scale was too large.
    if states.keys() != trained and (states or checkpoint.config.precision != "float16"):
        raise ValueError("optimiser: state has other parameters than this network")
    for number, state in states.items():
        if not isinstance(state, dict) or state.keys() != {"step", *_MOMENTS}:
            raise ValueError(f"optimiser: the state of parameter {number} is not a state of AdamW")
        _refuse_other_shape(f"optimiser: step of parameter {number}", state["step"], torch.zeros(()))
        for name in _MOMENTS:
            _refuse_other_shape(f"optimiser: {name} of parameter {number}", state[name], parameters[number])
    # Learning rate and other options come from the configuration, which is that of the run.
    optimiser.load_state_dict({"state": states, "param_groups": fresh["param_groups"]})


def _numbers(group: Any) -> Any:
    return group.get("params") if isinstance(group, dict) else None


def _refuse_other_shape(name: str, value: object, wanted: Tensor) -> None:
    if not isinstance(value, Tensor) or (value.shape, value.dtype) != (wanted.shape, wanted.dtype):
        got = f"{value.dtype} {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(f"{name} must be {wanted.dtype} {tuple(wanted.shape)}, got {got}")
    if not torch.isfinite(value).all():
        raise ValueError(f"{name} has values that are not finite")


@contextmanager
def _naming(checkpoint: Checkpoint, part: str = "") -> Iterator[None]:
    """Turn an error of the ``with`` block into a `DamagedError` that names the checkpoint. Errors of this package and of a full GPU stay as they are."""
    try:
        yield
    except (SpikestoreError, torch.OutOfMemoryError):
        raise  # its message is complete
    except (ValueError, TypeError, KeyError, AttributeError, RuntimeError) as error:
        why = " ".join(str(error).split())
        raise DamagedError(
            f"{checkpoint.origin} is damaged, or not a checkpoint of this run: {part}{why}; {OTHER_CHECKPOINT}",
            objects=(checkpoint.origin,),
        ) from error
