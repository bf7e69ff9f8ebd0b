"""Accuracy gained from the times of spikes: ``python -m benchmarks.accuracy [--seeds N] [--size small|full] [--data DIR] [--json FILE]``.

A network with the configuration ``configs/demo.toml`` is compared with a linear read-out of the spikes summed over time. The
network and the read-out use the same feature sets, and are fitted on the split ``train``. The epoch of the network and the
penalty of the read-out are chosen on the split ``valid``. The result for each random seed of the network is the accuracy of
the network minus that of the read-out, in percentage points. The read-out has no seed: its loss is convex, and is minimised
until it no longer changes.
"""

from __future__ import annotations

import logging
import os
import shutil
import statistics
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.form import Row, arguments, report
from benchmarks.recordings import find_recordings

ROOT = Path(__file__).parents[1]
COUNTS = {"train": 2000, "valid": 400, "test": 400}
"""Number of recordings that `spikestore demo-data` writes for each split, as in `make demo`."""
PENALTIES = tuple(10.0**power for power in range(-6, 1))


def main() -> None:
    """Train and compare."""

    def more(parser: Any) -> None:
        parser.add_argument("--seeds", type=int, help="how many runs; 3, or 1 with --size small")
        parser.add_argument("--epochs", type=int, help="instead of the configuration's")

    options = arguments(__doc__ or "", more=more)
    goals = {"test": 3.0, "valid": None}
    if options.data is not None and (reason := _lacking(options.data)):
        rows = [
            Row(f"points_above_linear_read_out_{split}", goal, skipped=reason)
            for split, goal in goals.items()
        ]
        report("accuracy", rows, {}, options)
        return
    import torch

    # All cores, as in a user's run.
    torch.set_num_threads(
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    seeds = options.seeds or (1 if options.size == "small" else 3)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        store = fill_store(scratch, options.data)
        splits = store.splits("demo")
        sums = {name: summed(features) for name, features in splits.items()}
        read_out = linear_read_out(sums)
        runs = [train(scratch, store, seed, options.epochs, options.device) for seed in range(seeds)]
        rows = []
        for split, goal in goals.items():
            row = Row(f"points_above_linear_read_out_{split}", goal)
            row.ratios = [100 * (run[split] - read_out[split]) for run in runs]
            row.ours = {"accuracy": statistics.median(run[split] for run in runs)}
            row.ours |= {f"seed {seed}": run[split] for seed, run in enumerate(runs)}
            row.peer = {"accuracy": read_out[split]}
            rows.append(row)
        rows[0].peer |= {"train": read_out["train"], "penalty": read_out["penalty"]}
        data = {split: len(labels) for split, (_, labels) in sums.items()}
        report("accuracy", rows, {**data, "seeds": seeds}, options)


def _lacking(data: Path) -> str | None:
    """Return a message that names the missing splits; None if all splits exist."""
    recordings = find_recordings(data)
    lacking = [split for split in COUNTS if split not in recordings.splits]
    if not lacking:
        return None
    return f"{recordings.dataset} in {data} has no split {' nor '.join(lacking)}: the epoch and the penalty are chosen on valid"


def fill_store(scratch: Path, data: Path | None) -> Any:
    """Build the demo feature sets of all splits; return the store."""
    from spikestore.pipeline import preprocess
    from spikestore.pipeline.demo.demo_data import write_demo_data
    from spikestore.store import Store

    if data is None:
        data = scratch / "data"
        write_demo_data(data, train=COUNTS["train"], valid=COUNTS["valid"], test=COUNTS["test"])
    # A copy, with a lock of its own.
    recipe = Path(shutil.copy(ROOT / "recipes" / "demo.toml", scratch))
    preprocess(recipe, data=data, store=scratch / "store", workers=0)
    return Store(scratch / "store")


def summed(features: Any) -> tuple[Any, Any]:
    """Return spikes of each site summed over time, float64 (samples, sites), and labels."""
    import torch

    from spikestore.train import FeatureLoader

    batches = list(FeatureLoader(features, 256, "host", reuse=False))
    sums = torch.cat([batch.frames.flatten(2).sum(1) for batch in batches])
    return sums.double(), torch.cat([batch.labels for batch in batches])


def linear_read_out(sums: dict[str, tuple[Any, Any]]) -> dict[str, float]:
    """Fit multinomial logistic regression once for each of `PENALTIES`; return the accuracies of the fit that is best on ``valid``, and its penalty."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(
        1
    )  # products of 2,000 × 100 numbers: several threads would mainly wait for each other
    x, labels = sums["train"]
    mean, spread = x.mean(0), x.std(0).clamp_min(1e-9)
    scaled = {split: ((one - mean) / spread, truth) for split, (one, truth) in sums.items()}
    best: dict[str, float] = {"valid": -1.0}
    for penalty in PENALTIES:
        weight, bias = _fit(scaled["train"][0], labels, penalty)
        found = {
            split: float(((one @ weight + bias).argmax(1) == truth).double().mean())
            for split, (one, truth) in scaled.items()
        }
        if found["valid"] > best["valid"]:
            best = {**found, "penalty": penalty}
    torch.set_num_threads(threads)
    return best


def _fit(x: Any, labels: Any, penalty: float) -> tuple[Any, Any]:
    """Minimise the cross entropy plus `penalty` times the sum of the squared weights, by L-BFGS on all samples."""
    import torch
    from torch.nn.functional import cross_entropy

    classes = int(labels.max()) + 1
    weight = torch.zeros(x.shape[1], classes, dtype=x.dtype, requires_grad=True)
    bias = torch.zeros(classes, dtype=x.dtype, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [weight, bias],
        max_iter=400,
        tolerance_grad=1e-6,
        tolerance_change=1e-9,
        history_size=20,
        line_search_fn="strong_wolfe",
    )

    def loss() -> Any:
        optimiser.zero_grad()
        found = cross_entropy(x @ weight + bias, labels) + penalty * weight.square().sum()
        found.backward()
        return found

    optimiser.step(loss)
    return weight.detach(), bias.detach()


def train(scratch: Path, store: Any, seed: int, epochs: int | None, device: str) -> dict[str, float]:
    """Train with the demo configuration and a seed; return the best checkpoint's accuracies on ``valid`` and ``test``."""
    from spikestore.train.runs.config import load_config
    from spikestore.train.runs.run import evaluate, run

    logging.getLogger("spikestore").setLevel(logging.ERROR)
    config = load_config(ROOT / "configs" / "demo.toml")
    changes = {"seed": seed, **({} if epochs is None else {"epochs": epochs})}
    config = type(config).from_mapping(config.to_mapping() | changes, origin="demo.toml")
    folder = scratch / f"seed-{seed}"

    def silent(done: int, total: int, what: str) -> None:
        pass

    run(config, store, folder, device=device, progress=silent)
    return {
        split: evaluate(folder / "best.pt", store, split=split, device=device, progress=silent)[0]
        for split in ("valid", "test")
    }


if __name__ == "__main__":
    main()
