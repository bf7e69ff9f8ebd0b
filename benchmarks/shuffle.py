"""Accuracy with a windowed shuffle: ``python -m benchmarks.shuffle [--size small|full] [--data DIR] [--json FILE]``.

The network of ``configs/demo.toml`` is trained on demo recordings twice for each random seed: once with a full shuffle (residence
``host``), and once streamed with a window of about an eighth of the split ``train``. The two runs of a seed start with the same weights, so the runs are compared as a
pair. The accuracy is measured after the last epoch, on all other splits together (``valid`` and ``test``).

The demo recordings have 35 classes. In their file, any 35 consecutive recordings have each class once. A windowed shuffle nearly keeps this balance,
but a full shuffle does not. Balanced batches train faster. To make the comparison fair, the demo recordings of the split
``train`` are first put into a random order.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.form import PINNED, Row, arguments, report
from benchmarks.recordings import find_recordings

if TYPE_CHECKING:
    from spikestore.train.data.placement import Chosen

os.environ.update(PINNED)

WINDOW = 256


@dataclass(frozen=True)
class Bench:
    """Sizes of the training runs."""

    splits: dict[str, Any]
    """Feature sets: ``train``, and the splits on which accuracy is measured."""
    seeds: int
    epochs: int


def main() -> None:
    """Train with a full shuffle and with a windowed shuffle for each seed, and report the loss of accuracy."""
    options = arguments(__doc__ or "")
    import torch

    torch.set_num_threads(1)
    seeds, epochs, samples = (3, 1, 600) if options.size == "small" else (10, 5, 2000)
    with tempfile.TemporaryDirectory() as folder:
        splits = built(Path(folder), options.data, samples)
        bench = Bench(splits, seeds, epochs)
        rows = accuracy_lost(bench)
        data = {"samples": len(splits["train"]), "window": WINDOW, "seeds": seeds, "epochs": epochs}
        report("shuffle", rows, data, options)


def built(scratch: Path, data: Path | None, samples: int) -> dict[str, Any]:
    """Build all splits with the transform of the demo recipe."""
    from spikestore.pipeline import load_recipe
    from spikestore.pipeline.building.feature_build import BuildRequest, build_features, open_build
    from spikestore.pipeline.demo.demo_data import write_demo_data
    from spikestore.pipeline.execution.schedulers import InProcess
    from spikestore.pipeline.recipes.requested_sets import RequestedSet
    from spikestore.pipeline.sources.source_files import make_source
    from spikestore.store import Store

    if data is None:
        write_demo_data(scratch / "demo", train=samples, valid=400, test=400)
        mix(scratch / "demo" / "SSC" / "ssc_train.h5")
    recordings = find_recordings(data or scratch / "demo")
    if "train" not in recordings.splits or len(recordings.splits) < 2:
        raise SystemExit(
            f"--data {data}: a network is trained on the split train and measured on the others, and there is only "
            f"{' and '.join(recordings.splits)}"
        )
    transform = load_recipe(Path(__file__).parents[1] / "recipes" / "demo.toml").transform_spec()
    store, found, scheduler = Store(scratch / "store"), {}, InProcess()
    for split in recordings.splits:
        limit = min(samples, recordings.count) if split == "train" else None
        source = make_source(recordings.dataset, split, recordings.folder, limit=limit)
        what = RequestedSet(split, source, transform)
        begun = open_build(store.storage, what.located, transform, BuildRequest(scheduler.workers))
        found[split] = build_features(begun, what.located, transform, scheduler, progress=lambda *_: None)
    return found


def mix(path: Path) -> None:
    """Put the recordings of a file into a random order, in the same file."""
    import h5py
    import numpy as np

    with h5py.File(path, "r+") as file:
        count = len(file["labels"])
        order = np.random.default_rng(0).permutation(count)
        names: list[str] = []
        file.visit(names.append)
        for name in names:
            if isinstance(file[name], h5py.Dataset) and len(file[name]) == count:
                file[name][...] = file[name][...][order]


def trained(bench: Bench, residence: Chosen, seed: int) -> float:
    """Train once; return the accuracy in percent."""
    import torch

    from spikestore.train import FeatureLoader, build_network, training_step
    from spikestore.train.models.memory_check import network_shape
    from spikestore.train.runs.config import load_config
    from spikestore.train.runs.loop import make_optimiser
    from spikestore.train.runs.step import accuracy

    config = load_config(Path(__file__).parents[1] / "configs" / "demo.toml")
    size, features = config.data.batch_size, bench.splits["train"]
    torch.manual_seed(seed)
    network = build_network(config.network, **network_shape(features, config.network))
    optimiser = make_optimiser(config.optimiser, network)
    window = WINDOW if residence == "stream" else None
    loader = FeatureLoader(features, size, residence, shuffle=True, seed=seed, threads=1, window=window)
    for _ in range(bench.epochs):
        for batch in loader:
            training_step(network, optimiser, batch, config.optimiser.clip_norm)
    tests = [
        FeatureLoader(one, size, "host", threads=1) for split, one in bench.splits.items() if split != "train"
    ]
    right = sum(accuracy(network, one) * one.samples for one in tests)
    return 100 * right / sum(one.samples for one in tests)


def accuracy_lost(bench: Bench) -> list[Row]:
    """Mean loss of accuracy by the windowed shuffle, compared with a full shuffle, over pairs of runs: one row in points, one in standard errors."""
    pairs = []
    for seed in range(bench.seeds):
        pairs.append(tuple(trained(bench, residence, seed) for residence in ("stream", "host")))
        sys.stderr.write(f"seed {seed}: stream {pairs[-1][0]:.2f} %, host {pairs[-1][1]:.2f} %\n")
    lost = [host - stream for stream, host in pairs]
    mean, error = statistics.mean(lost), statistics.stdev(lost) / len(lost) ** 0.5
    points = Row("mean_accuracy_lost_points", 1.0, better="lower", ratios=[mean])
    errors = Row("mean_accuracy_lost_standard_errors", 2.0, better="lower")
    if error:
        errors.ratios = [mean / error]
    else:
        errors.skipped = "all pairs of seeds lose the same: there is no standard error"
    for row in (points, errors):
        row.ours, row.peer = (
            {"% correct, mean": statistics.mean(side), "% standard deviation": statistics.stdev(side)}
            for side in zip(*pairs, strict=True)
        )
    points.ours["points standard error"] = error
    return [points, errors]


if __name__ == "__main__":
    main()
