"""Training steps that are replayed as CUDA graphs: a few launches replace about a hundred kernel launches from Python.

Each recorded batch shape has one or two graphs. The first graph computes loss and gradients from frames. The second graph is the
optimiser's step, which changes weights only if the loss is finite. There is no second graph if losses are scaled (float16),
or while the optimiser's settings change in each step. The graphs run the kernels of a plain step on
the same numbers, so results have the same bits. torch's fused optimisers check on the device whether the loss is
finite; with other optimisers, and if losses are scaled, the CPU waits for the loss.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

from spikestore.store_schemas.errors import UsageError
from spikestore.train.data.batch import Batch
from spikestore.train.models.networks import forget_states, spiking_layers
from spikestore.train.runs.capturable import (
    frozen_by_network,
    frozen_by_optimiser,
    why_not_network,
    why_not_optimiser,
)
from spikestore.train.runs.config import CudaGraphs
from spikestore.train.runs.precision import Arithmetic
from spikestore.train.runs.ranks import ALONE, Ranks
from spikestore.train.runs.step import loss_and_gradients, training_step

logger = logging.getLogger(__name__)

MOST_SHAPES = 4
"""Maximum number of batch shapes with graphs; each shape keeps its gradients and a copy of its frames."""
WARM_UP = 3
"""Number of plain steps with a shape before it is recorded: kernels are compiled, and libraries select their kernels."""

_T = TypeVar("_T")


class Recorder(Protocol):
    """Protocol of an object that records work on a device, to replay it later."""

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Return a context in which GPU work runs on the CUDA stream that `record` uses."""

    def record(self, work: Callable[[], _T]) -> tuple[_T, Callable[[], None]]:
        """Record the GPU work of `work` without running it; return the result of `work` and a function that replays it.

        The tensors of the result have no valid values before the first replay. Each replay writes new values to them.
        """


class CudaRecorder:
    """Records CUDA graphs that share one memory pool.

    Parameters
    ----------
    device : torch.device
        A CUDA device.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)
        self._pool: Any = None

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Return a context in which GPU work runs on the CUDA stream that `record` uses."""
        before = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(before)
        with torch.cuda.stream(self._stream):
            yield
        before.wait_stream(self._stream)

    def record(self, work: Callable[[], _T]) -> tuple[_T, Callable[[], None]]:
        """Record GPU work; see `Recorder.record`."""
        graph = torch.cuda.CUDAGraph()
        # The loader's threads keep using their own streams: only this thread must not synchronise.
        with torch.cuda.graph(graph, self._pool, self._stream, capture_error_mode="thread_local"):
            result = work()
        if self._pool is None:
            self._pool = graph.pool()
        return result, graph.replay


@dataclass
class _Recorded:
    """The CUDA graphs `passes` and `step` of one batch shape, and the tensors that a replay reads and writes."""

    frames: Tensor
    labels: Tensor
    loss: Tensor
    gradients: list[tuple[nn.Parameter, Tensor]]
    states: list[tuple[nn.Module, Tensor]]
    passes: Callable[[], None]
    step: Callable[[], None] | None = None
    frozen: tuple[Any, ...] = ()
    """Values of `frozen_by_optimiser` at the last step, recorded or plain."""


class TrainingStep:
    """Takes the same training steps as `training_step`, and replays them as CUDA graphs if a replay gives the same result.

    A step is recorded when a batch shape occurs for the fourth time, for at most `MOST_SHAPES` shapes. Batches of other shapes, such
    as a shorter last batch, get plain steps. After a step, gradients, membrane
    potentials and weights are in the attributes of parameters and layers, as after a plain step; the next step overwrites
    gradients and membrane potentials.

    Parameters
    ----------
    network, optimiser, clip_norm, arithmetic, ranks
        See `training_step`; the same objects in every step.
    cuda_graphs : "auto" or bool
        ``auto`` replays steps if this is possible; True also raises an error at construction if it is not possible; False replays no
        steps. If a replay becomes impossible later, for example at a batch of sparse frames, plain steps are taken in any case.

    Raises
    ------
    UsageError
        `cuda_graphs` is True, and steps can't be replayed: the message states the reason. Or `cuda_graphs` has another value.

    Examples
    --------
    >>> optimiser = torch.optim.AdamW(network.parameters(), fused=True, capturable=True)   # doctest: +SKIP
    >>> step = TrainingStep(network, optimiser)                                            # doctest: +SKIP
    >>> losses = [step(batch) for batch in loader]                                         # doctest: +SKIP
    """

    def __init__(
        self,
        network: nn.Module,
        optimiser: torch.optim.Optimizer,
        clip_norm: float | None = None,
        *,
        arithmetic: Arithmetic | None = None,
        ranks: Ranks = ALONE,
        cuda_graphs: CudaGraphs = "auto",
    ) -> None:
        if cuda_graphs not in ("auto", True, False):
            raise UsageError(f'cuda_graphs must be "auto", true or false, got {cuda_graphs!r}')
        self._network, self._optimiser, self._clip_norm = network, optimiser, clip_norm
        self._arithmetic = Arithmetic() if arithmetic is None else arithmetic
        self._ranks = ranks
        self._recorded: dict[tuple[Any, ...], _Recorded] = {}
        self._seen: Counter[tuple[Any, ...]] = Counter()
        self._reported: set[str] = set()
        self._recorder: Recorder | None = None
        # GradScaler of torch.amp makes the same check; if losses are scaled, it decides whether to step.
        self._reads_on_device = (
            getattr(optimiser, "_step_supports_amp_scaling", False) and not self._arithmetic.scales
        )
        if cuda_graphs is False:
            return
        device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
        reason = _why_not_device(device, ranks) or self._why_not()
        if reason is None:
            self._recorder = _recorder_for(device)
        elif cuda_graphs is True:
            raise UsageError(
                f'cuda_graphs = true is not possible: {reason}; use "auto" to take plain steps instead'
            )
        elif device.type != "cpu":
            self._report(reason)

    @property
    def graphs(self) -> int:
        """Number of batch shapes that are replayed."""
        return len(self._recorded)

    def __call__(self, batch: Batch) -> Tensor:
        """Take a training step; return the mean loss over the batch: detached, shape (). Raises the errors of `training_step`."""
        if self._recorder is None:
            return self._plain(batch)
        reason = self._why_not() or _why_not_batch(batch)
        if reason is not None:
            self._report(reason)
            return self._plain(batch)
        key = frozen_by_network(self._network, batch)
        recorded = self._recorded.get(key)
        if recorded is None:
            if self._seen[key] < WARM_UP or len(self._recorded) == MOST_SHAPES:
                self._seen[key] += 1
                with self._recorder.aside():
                    return self._plain(batch)
            try:
                recorded = self._recorded[key] = self._record(batch, self._recorder)
            except RuntimeError as error:
                self._give_up(error)
                return self._plain(batch)
        return self._replay(recorded, batch)

    def _plain(self, batch: Batch) -> Tensor:
        return training_step(
            self._network,
            self._optimiser,
            batch,
            self._clip_norm,
            arithmetic=self._arithmetic,
            ranks=self._ranks,
        )

    def _why_not(self) -> str | None:
        return why_not_network(self._network) or why_not_optimiser(self._optimiser)

    def _record(self, batch: Batch, recorder: Recorder) -> _Recorded:
        frames, labels = batch.frames.clone(), batch.labels.clone()
        forget_states(self._network)
        # Gradients must be allocated in the memory of the graph.
        self._optimiser.zero_grad(set_to_none=True)
        loss, passes = recorder.record(
            lambda: loss_and_gradients(self._network, frames, labels, self._arithmetic)
        )
        logger.debug(
            "from now on, batches of frames of shape %s are replayed as a CUDA graph", tuple(frames.shape)
        )
        return _Recorded(
            frames,
            labels,
            loss,
            [
                (parameter, parameter.grad)
                for parameter in self._network.parameters()
                if parameter.grad is not None
            ],
            [(layer, layer.get_buffer("v_mem").detach()) for layer in spiking_layers(self._network).values()],
            passes,
        )

    def _replay(self, recorded: _Recorded, batch: Batch) -> Tensor:
        recorded.frames.copy_(batch.frames)
        recorded.labels.copy_(batch.labels)
        recorded.passes()
        for parameter, gradient in recorded.gradients:
            parameter.grad = gradient
        for layer, state in recorded.states:
            layer.v_mem = state
        loss = recorded.loss.clone()
        if self._reads_on_device or torch.isfinite(loss):
            self._step(recorded)
        return loss

    def _step(self, recorded: _Recorded) -> None:
        """Take the optimiser's step. If the optimiser's settings have not changed since the step before, record this step; later steps replay it."""
        frozen = frozen_by_optimiser(self._optimiser)
        if recorded.frozen != frozen:  # a scheduler changes the learning rate each step or epoch
            recorded.frozen, recorded.step = frozen, None
        elif recorded.step is None and self._recorder is not None and not self._arithmetic.scales:
            try:
                _, recorded.step = self._recorder.record(lambda: self._optimiser_step(recorded.loss))
            except RuntimeError as error:
                self._give_up(error)
        if recorded.step is None:
            self._optimiser_step(recorded.loss)
        else:
            recorded.step()

    def _optimiser_step(self, loss: Tensor) -> None:
        with _only_if_finite(self._optimiser, loss) if self._reads_on_device else nullcontext():
            self._arithmetic.step(self._optimiser, self._network, self._clip_norm)

    def _give_up(self, error: RuntimeError) -> None:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        logger.warning(
            "training continues without CUDA graphs, which this GPU or network does not allow: %s", reason
        )
        self._recorder = None
        self._recorded.clear()

    def _report(self, reason: str) -> None:
        if reason not in self._reported:
            self._reported.add(reason)
            logger.debug("steps are not replayed as CUDA graphs: %s", reason)


@contextmanager
def _only_if_finite(optimiser: Any, loss: Tensor) -> Iterator[None]:
    """Make a fused optimiser skip its step if the loss is not finite. As in GradScaler, the CPU does not wait for the loss."""
    optimiser.found_inf = (~torch.isfinite(loss)).to(torch.float32)
    try:
        yield
    finally:
        del optimiser.found_inf


def _recorder_for(device: torch.device) -> Recorder:
    return CudaRecorder(device)


def _why_not_device(device: torch.device, ranks: Ranks) -> str | None:
    if device.type != "cuda":
        return f"the network is on {device}, not on a CUDA device"
    if ranks.count > 1:
        return f"{ranks.count} ranks wait for each other within a step"
    return None


def _why_not_batch(batch: Batch) -> str | None:
    if batch.frames.layout is not torch.strided:
        return "frames are sparse tensors, whose number of non-zeros varies"
    if batch.frames.requires_grad:
        return "frames require gradients"
    if torch.is_autocast_enabled(batch.frames.device.type):
        # autocast caches weights in half precision: a replay would use those of the recording.
        return "torch.autocast is on during the step: omit it, and pass arithmetic=Arithmetic(PRECISION, DEVICE) of spikestore.train.runs.precision to TrainingStep"
    return "torch.autograd.set_detect_anomaly is on" if torch.is_anomaly_enabled() else None
