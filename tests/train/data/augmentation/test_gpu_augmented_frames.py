"""Augmented frames that a GPU makes are those of the CPU: in Triton's interpreter if it is installed, and on a GPU."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.train.data.augmentation.plain_augmentations import PLAIN
from tests.train.data.augmentation.plain_draws import CLASSES, EPOCH
from tests.train.data.augmentation.test_steps import compiled, packed
from tests.train.neurons.test_triton_kernels import needs_triton

from spikestore.train.data.device_samples import TensorColumns
from spikestore.train.data.frames import collate
from spikestore.train.data.frames.augmentation_steps import MIX_ALIGNED, StepInput
from spikestore.train.data.frames.collate import Assembly
from spikestore.train.data.frames.padding import Padding
from spikestore.train.data.frames.parallel_for import ParallelFor
from spikestore.train.data.frames.sample_pointers import host_pointers
from spikestore.train.data.frames.step_augmentation import Augmentations

LISTS = (
    *([0, 1, 2, 3, 4, 6, 7], [8, 10, 12, 13, 14, 15], [19, 18], [27, 21, 22], [28, 26]),
    [3, 31, 0],
    [16, 17, 3, 16, 20, 0],  # noise before and after mixtures
    [31, 18],
)


def compare(device: str) -> None:
    """Assert that frames and labels are those of the compiled loop."""
    from spikestore.train.data.frames import gpu_augmented_frames

    fill = gpu_augmented_frames.fill_augmented
    gpu_augmented_frames._BLOCK, gpu_augmented_frames._PARTS = (
        32,
        2,
    )  # several turns of its loops, for few events
    random = np.random.default_rng(0)
    samples = [
        random.integers(0, 9, (size, 2, 3, 4)) * (random.random((size, 2, 3, 4)) < 0.5)
        for size in (5, 3, 4, 1)
    ]
    columns = packed(samples, [0, 1, 0, 2])
    for chosen in LISTS:
        augment = Augmentations([PLAIN[number][0] for number in chosen], CLASSES)
        frames, labels = compiled(columns, augment)
        pointers = host_pointers(columns, np.arange(len(samples)))
        batch, centres = pointers.packed(ParallelFor(None, 1)), pointers.centres(ParallelFor(None, 1))
        own = (batch.samples, batch.lengths, batch.labels, batch.sites, EPOCH, torch.from_numpy(centres))
        steps = augment.steps(StepInput(*own))
        stored = batch.to(device).stored()
        ours = torch.zeros(frames.shape, device=device)
        totals = fill(stored, steps, batch.lengths.numpy() * math.prod(batch.sites), ours)
        assert np.array_equal(ours.cpu().numpy(), frames), chosen
        assert torch.equal(augment.labels(stored.labels, steps, totals).cpu(), labels), chosen
    # And a loader uses it, for samples on the device, in any range of the columns, and on the host.
    order = np.array([2, 0, 3])
    truth = Assembly(torch.device("cpu"), "dense", Padding(), augment, None, reuse=False, threads=1).make(
        host_pointers(columns, order), EPOCH, None
    )
    assembly = Assembly(torch.device(device), "dense", Padding(), augment, None, reuse=False, threads=1)
    (on_device,) = TensorColumns(columns, device).batches(order, np.array([0, 3]))
    for source in (on_device, host_pointers(columns, order)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(collate, "augmenting_kernel", lambda _value: fill)
            made = assembly.make(source, EPOCH, None).taken()
        assert all(torch.equal(one.cpu(), wanted) for one, wanted in zip(made, truth.taken(), strict=True))


@needs_triton
@pytest.mark.slow
def test_in_the_interpreter() -> None:
    """Triton's interpreter has to be asked for before Triton is imported: in a process of its own."""
    code = "from tests.train.data.augmentation.test_gpu_augmented_frames import compare; compare('cpu')"
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


@needs_triton
@pytest.mark.slow
def test_compiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel compiles for a GPU, which takes none, with all kinds of steps; products of densities stay apart from sums."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, compile

    from spikestore.train.data.frames import gpu_augmented_frames

    kinds = range(MIX_ALIGNED + 1)
    constants = {"kinds": sum(kind << 5 * kind for kind in kinds), "steps": len(kinds)}
    constants |= {"index_mask": 0xFFFF, "value_mask": 0, "parts": 4, "block": 256}
    kernel = gpu_augmented_frames._fill_augmented
    types = {name: "*i64" if name.endswith("_at") else "i32" for name in kernel.arg_names}
    types |= {"index_at": "*i16", "value_at": "*u8", "regions_at": "*fp64", "totals_at": "*fp64"}
    types |= {"frames_at": "*fp32"} | dict.fromkeys(constants, "constexpr")
    made = compile(
        ASTSource(fn=kernel, signature=types, constexprs=constants),
        target=GPUTarget("cuda", 90, 32),
        options={"enable_fp_fusion": False},
    )
    assert "fma.rn.f64" not in made.asm["ptx"]


@pytest.mark.gpu
def test_on_a_gpu() -> None:
    """The same on the GPU itself."""
    compare("cuda")
