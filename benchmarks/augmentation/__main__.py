"""Loading with augmentation, against loading without: ``python -m benchmarks.augmentation [--device cuda] [--json FILE] [--rows NAMES]``.

Each measurement is an epoch of a loader with residence ``host`` and two threads. The loader shuffles, and makes dense float32 batches
of 128 samples. The samples are random: 250 bins and 100 channels, as the blog post in docs/seed.md uses for SSC. 2 % of the cells
are filled; in the demo recordings, 18 % are. A row is the throughput with one augmentation, divided by the throughput without any. In rows
for cameras, a sample has 10 bins of 2 x 48 x 48 pixels, and 5 % of the cells are filled.

Rows of papers compare two ways to make an augmented dense batch, ours and that of a paper, both in one thread. Our
way begins with packed columns. The peer copies dense frames and runs the paper's own function on the copy. Rows named "bound: half of two samples" measure a loop
that only reads two samples and writes half of the non-zeros of each. No augmentation that mixes two samples can be faster.
With ``--device cuda``, a GPU holds the columns, as with residence ``device``; there are no rows of papers, and rows have no
targets.
"""

from __future__ import annotations

import os
from typing import Any

from benchmarks.augmentation.papers import CAMERA, PAPERS
from benchmarks.augmentation.papers import measures as papers_measures
from benchmarks.augmentation.throughput import BATCH, SAMPLES, SSC, Bench, Shape
from benchmarks.form import PINNED, Row, arguments, compare, report, wanted_rows

os.environ.update(PINNED)


def _against_none(name: str, augment: Any, shape: Shape, target: float, stretch: float, device: str) -> Row:
    bench, row = Bench(shape, device=device), Row(name)
    if device == "cpu":
        row.target, row.stretch = target, stretch
    return compare(row, lambda: bench.throughput(augment), lambda: bench.throughput([]), unit="samples/s")


def _measures(device: str) -> list[Any]:
    from spikestore import train

    each = {
        "TimeShift(5)": train.TimeShift(5),
        "ChannelJitter(2)": train.ChannelJitter(2),
        "ChannelShift(5)": train.ChannelShift(5),
        "EventDrop(0.1)": train.EventDrop(0.1),
        "EventThinning(0.1)": train.EventThinning(0.1),
        "SpatialFlip()": train.SpatialFlip(),
        "PolarityFlip()": train.PolarityFlip(),
        "TimeReversal()": train.TimeReversal(),
        "TimeStretch(0.2)": train.TimeStretch(0.2),
        "TimeMask(25)": train.TimeMask(25),
        "ChannelMask(10)": train.ChannelMask(10),
        "UniformNoise(50)": train.UniformNoise(50),
        "Blend()": train.Blend(),
        "Blend(align='centre')": train.Blend(align="centre"),
        "CutMix()": train.CutMix(),
        "EventMix()": train.EventMix(),
    }
    cameras = {
        "Translate(5)": train.Translate(5),
        "Rotate(30)": train.Rotate(30),
        "Roll(5)": train.Roll(5),
        "Shear(30)": train.Shear(30),
        "AreaMask(0.3)": train.AreaMask(0.3),
        "CutMix('xy')": train.CutMix("xy"),
    }

    def bound_of(name: str, shape: Shape) -> Any:
        def measure() -> Row:
            from benchmarks.augmentation.bounds import mixture_bound

            return mixture_bound(name, shape)

        measure.__name__ = name
        return measure

    bounds = {"bound: half of two samples": SSC, "bound: half of two samples, camera": CAMERA}

    def measure_of(name: str, augment: Any, shape: Shape, target: float, stretch: float) -> Any:
        def measure() -> Row:
            return _against_none(name, augment, shape, target, stretch, device)

        measure.__name__ = name
        return measure

    four = [each[name] for name in ("TimeShift(5)", "ChannelJitter(2)", "EventDrop(0.1)", "SpatialFlip()")]
    return [
        *(measure_of(name, [one], SSC, 0.5, 0.8) for name, one in each.items()),
        *(measure_of(f"{name}, camera", [one], CAMERA, 0.5, 0.8) for name, one in cameras.items()),
        measure_of("shift, jitter, drop and flip together", four, SSC, 0.3, 0.5),
        *(
            measure_of(f"preset {name}", train.preset(name), shape, 0.3, 0.5)
            for name, shape in [
                *((name, shape) for name, (shape, _) in PAPERS.items()),
                ("eventprop", SSC),
                ("nda-cifar10-dvs", CAMERA),
            ]
        ),
        *(bound_of(name, shape) for name, shape in bounds.items() if device == "cpu"),
        *(papers_measures() if device == "cpu" else ()),
    ]


def main() -> None:
    """Run the selected rows."""
    options = arguments(__doc__ or "")
    rows = [measure() for measure in wanted_rows(_measures(options.device), options)]
    report("augmentation", rows, {"samples": SAMPLES, "batch": BATCH}, options)


if __name__ == "__main__":
    main()
