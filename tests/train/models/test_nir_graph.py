"""Networks as NIR graphs: Sinabs' network of such a graph computes the same outputs."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

from spikestore.store_schemas.errors import MissingExtraError, UsageError
from spikestore.train import ConvolutionSpec, NetworkSpec, build_network, forget_states, to_nir

nir: Any = pytest.importorskip("nir")
FRAME = (2, 11, 13)


def network(pool: Literal["sum", "average"] | None = "sum", **spec: Any) -> nn.Sequential:
    """Return a convolutional network that spikes."""
    torch.manual_seed(0)
    spec = {"convolutions": (ConvolutionSpec(channels=4, kernel=3, padding=1, pool=pool),)} | spec
    sizes = dict(zip(("polarities", "height", "width"), FRAME, strict=True))
    chosen = NetworkSpec(**{"hidden": (16,), "input_scale": 6.0, **spec})
    return build_network(chosen, sites=2 * 11 * 13, classes=3, **sizes)


def frames() -> Tensor:
    """Return frames of two samples."""
    return (torch.rand(2, 9, *FRAME, generator=torch.Generator().manual_seed(1)) < 0.3).float()


def read_by_sinabs(graph: Any, path: Path, minimum: float | None) -> Any:
    """Write a graph to a file; return Sinabs' network of it, which maps frames to outputs as ours does."""
    pytest.importorskip("sinabs")
    from sinabs import from_nir

    nir.write(path, graph)
    made = from_nir(nir.read(path), batch_size=2)
    for layer in made.modules():
        if hasattr(layer, "min_v_mem"):
            layer.min_v_mem = None if minimum is None else nn.Parameter(torch.tensor(minimum))
    return lambda x: made(x.flatten(0, 1))[0].unflatten(0, x.shape[:2])


@pytest.mark.filterwarnings("ignore:nirtorch.load is being deprecated:DeprecationWarning")
@pytest.mark.parametrize(
    ("backend", "convolutions", "minimum"),
    [("fused", True, None), ("fused", False, -0.5), ("sinabs", True, -0.5), ("sinabs", False, None)],
)
def test_sinabs_reads_it(tmp_path: Path, backend: str, convolutions: bool, minimum: float | None) -> None:
    """Outputs are the same to the bit, for both backends, with and without convolutions."""
    chosen: dict[str, Any] = {} if convolutions else {"convolutions": ()}
    ours = network(backend=backend, min_v_mem=minimum, **chosen)
    graph = to_nir(ours, FRAME)
    graph._check_types()
    assert list(graph.nodes) == ["input", *dict(ours.named_children()), "output"]
    forget_states(ours)
    with torch.no_grad():
        expected = ours(frames())
        assert torch.equal(read_by_sinabs(graph, tmp_path / "graph.nir", minimum)(frames()), expected)
    assert expected.std() > 0


def test_averages_have_a_node() -> None:
    """The graph has NIR's own node for an average; Sinabs can't read it."""
    graph = to_nir(network("average"), FRAME)
    assert type(graph.nodes["pool1"]).__name__ == "AvgPool2d"
    assert tuple(graph.nodes["pool1"].output_type["output"]) == (4, 5, 6)


@pytest.mark.parametrize(
    ("spec", "lost"),
    [
        ({"min_v_mem": -1.0}, "lacks them: min_v_mem."),
        (
            {"reset": "zero", "spikes": "single"},
            "lacks them: a reset to zero, or by a value other than the threshold; a limit of one spike per time bin.",
        ),
        ({}, None),
    ],
)
@pytest.mark.parametrize("backend", ["fused", "sinabs"])
def test_properties_that_nir_lacks_are_reported(
    caplog: pytest.LogCaptureFixture, backend: str, spec: dict[str, Any], lost: str | None
) -> None:
    """There is one warning for all layers."""
    with caplog.at_level(logging.WARNING, "spikestore"):
        to_nir(network(backend=backend, **spec), FRAME)
    assert len(caplog.messages) == (lost is not None)
    assert lost is None or lost in caplog.text


def test_what_does_not_fit() -> None:
    """A wrong shape of frames, and a layer that build_network does not create, are reported in one line."""
    with pytest.raises(UsageError, match=r"pass frame_shape=\(polarity, \[y,\] x\)"):
        to_nir(network())
    with pytest.raises(UsageError, match=r"frame_shape must be \(polarity, y, x\) with 2 pol"):
        to_nir(network(), FRAME[1:])
    with pytest.raises(
        UsageError, match=r"frames of frame_shape \(1, 10\) have 10 values, but the network takes 286"
    ):
        to_nir(network(convolutions=()), (1, 10))
    with pytest.raises(UsageError, match="the layer 0 has no node in NIR: it is a GELU, which build_network"):
        to_nir(nn.Sequential(nn.GELU()), FRAME)


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line has the remedy."""
    monkeypatch.setitem(sys.modules, "nir", None)
    with pytest.raises(MissingExtraError, match="to_nir needs the package nir"):
        to_nir(network(), FRAME)
