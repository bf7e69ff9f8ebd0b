"""The complete experiment of the blog post in docs/seed.md: ``python -m benchmarks.seed [--size small|full] [--device cpu|cuda] [--page FOLDER]``.

Every way of loading is combined with every backend of the network, on the same samples; each combination is a cell of the
tables. A smaller last batch is left out. The network and the loop are those of the post:
forward, cross entropy and backward, without an optimiser step. Each round runs every cell, in an order that rotates. A ratio
compares two cells of the same round. All cells run whole epochs, except slow cells with ``full`` on a CPU (`Size.some`): these
run only some batches, and `epochs.scaled_up` estimates the time of the epoch. The result of each cell states the number of
batches that were run.

``--page FOLDER`` writes a page, the bar plot of the post, and the plot of one dense sample.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.bench import Bench as Raw
from benchmarks.form import Row, arguments, is_wanted, report
from benchmarks.networks import seed_network
from benchmarks.recordings import recordings_of
from benchmarks.seed.epochs import Epoch, run_epoch, step
from benchmarks.seed.loadings import WAYS, WORKERS, Batches, Loadings, at_once

BACKENDS = ("sinabs", "unbind", "exodus", "fused")
"""``unbind`` is Sinabs with one line changed, as in `benchmarks.networks.unbound`."""
BASE = ("naive", "sinabs")
BATCH = 128


@dataclass(frozen=True)
class Size:
    """Sizes of a run.

    Attributes
    ----------
    samples, batch, rounds : int
        Numbers of recordings, of samples in a batch, and of rounds.
    some : dict of str to int
        Number of batches to run, by backend. The number of batches that a way of loading makes at the same time (`at_once`) is
        added. Whole epochs are run with backends that are not listed here, with naive loading and Sinabs, and on a GPU.
    """

    samples: int
    batch: int
    rounds: int
    some: dict[str, int]

    def batches(self, way: str, backend: str, device: str) -> int:
        """Return the number of batches to run with this way of loading and this backend."""
        whole = self.samples // self.batch
        if (way, backend) == BASE or device == "cuda":
            return whole
        return min(whole, at_once(way) + self.some.get(backend, whole))


SIZES = {
    "full": Size(2000, BATCH, 5, {"sinabs": 1, "unbind": 2}),
    "small": Size(160, 32, 3, {}),
}


def main() -> None:
    """Run all cells."""

    def more(parser: Any) -> None:
        parser.add_argument("--page", type=Path, help="a folder for a page and its plots")
        parser.add_argument("--samples", type=int, help="recordings, instead of the size's")
        parser.add_argument("--batch", type=int, help="samples in a batch, instead of the size's")
        parser.add_argument("--rounds", type=int, help="instead of the size's")
        parser.add_argument("--threads", type=int, default=_cores(), help="of the network; all cores")

    options = arguments(__doc__ or "", more=more)
    size = SIZES[options.size]
    samples, batch = options.samples or size.samples, options.batch or size.batch
    if samples < batch:
        raise SystemExit(f"{samples} samples are no batch of {batch}: all would be left out")
    import torch

    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SystemExit("--device cuda: this torch sees no GPU")
    before, began = os.getloadavg()[0], time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        data = recordings_of(options.data, scratch, samples)
        samples = min(samples, data.count)
        size = Size(samples, min(batch, samples), options.rounds or size.rounds, size.some)
        raw = Raw.of(data, scratch, samples, samples, samples)
        loadings = Loadings(raw, size.samples, size.batch, device)
        cells, absent = choose_cells(options.rows, device)
        found = run_cells(loadings, size, cells)
        rows = [*cell_rows(found, size, device), *absent, whole_epoch(found)]
        facts = {
            "command": _command(options),
            "recordings": "spikestore demo-data" if options.data is None else data.dataset,
            "samples": size.samples,
            "batch": size.batch,
            "batches": size.samples // size.batch,
            "rounds": size.rounds,
            "threads": torch.get_num_threads(),
            "workers": WORKERS,
            "nnz": loadings.features.manifest.nnz,
            "load_before": round(before, 2),
            "load_after": round(os.getloadavg()[0], 2),
            "seconds": round(time.perf_counter() - began),
        }
        document = report("seed", rows, facts, options)
        if options.page is not None:
            from benchmarks.seed.page import write_page

            write_page(options.page, document, loadings.raw_dataset)


def _command(options: Any) -> str:
    """Return the command that repeats this run; it has ``DIR`` in place of a path of this machine."""
    given = {"size": options.size, "device": options.device} | {
        name: getattr(options, name) for name in ("samples", "batch", "rounds", "rows")
    }
    defaults = {"size": "full", "device": "cpu"}
    more = [f"--{name} {value}" for name, value in given.items() if value not in (None, defaults.get(name))]
    return " ".join(["python -m benchmarks.seed", *more, *(["--data DIR"] if options.data else [])])


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


Cell = tuple[str, str]


def choose_cells(wanted: str | None, device: Any) -> tuple[list[Cell], list[Row]]:
    """Return two lists: the cells to run, which always include `BASE`; and a row for each backend that can't run on this machine.

    A cell is a combination of a way of loading with a backend.
    """
    absent: list[Row] = []
    for backend in BACKENDS:
        try:
            seed_network(device, backend)
        except ImportError as error:
            absent.append(Row(backend, skipped=str(error)))
        except Exception as error:
            absent.append(Row(backend, skipped=f"{type(error).__name__}: {error}"))
    if device.type != "cuda" and "exodus" not in (row.name for row in absent):
        absent.append(Row("exodus", skipped="it runs on a GPU: --device cuda"))
    gone = {row.name for row in absent}
    cells = [(way, backend) for backend in BACKENDS if backend not in gone for way in WAYS]
    return [cell for cell in cells if cell == BASE or is_wanted("_".join(cell), wanted)], absent


def run_cells(loadings: Loadings, size: Size, cells: list[Cell]) -> dict[Cell, list[Epoch]]:
    """Run every cell in every round."""
    device = loadings.device
    networks = {backend: seed_network(device, backend) for _, backend in cells}
    whole = size.samples // size.batch

    def counted(cell: Cell) -> tuple[Batches, int]:
        count = size.batches(*cell, device.type)
        return loadings.batches(cell[0], count), count

    for batches in dict.fromkeys(counted(cell)[0] for cell in cells):  # workers start, caches fill
        for batch in batches():
            last = batch
    for network in networks.values():  # kernels load
        step(network, *last)
    found: dict[Cell, list[Epoch]] = {cell: [] for cell in cells}
    for number in range(size.rounds):
        began = time.perf_counter()
        for cell in cells if number % 2 == 0 else reversed(cells):
            batches, count = counted(cell)
            found[cell].append(
                run_epoch(networks[cell[1]], batches(), count, whole, at_once=at_once(cell[0]))
            )
        sys.stderr.write(f"round {number + 1} of {size.rounds}: {time.perf_counter() - began:.0f} s\n")
    return found


def cell_rows(found: dict[Cell, list[Epoch]], size: Size, device: Any) -> list[Row]:
    """Return a row for each cell (way of loading, backend): how many times faster it is than naive loading with the backend Sinabs."""
    seeds = ("sparse_list", "exodus" if ("sparse_list", "exodus") in found else "sinabs")
    rows = []
    for (way, backend), epochs in found.items():
        row = Row(f"{way}_{backend}", ratios=ratios(found, BASE, (way, backend)))
        seconds = [epoch.seconds for epoch in epochs]
        count = size.batches(way, backend, device.type)
        row.ours = {
            "s/epoch": statistics.median(seconds),
            "s/epoch at best": min(seconds),
            "samples/s": size.samples // size.batch * size.batch / statistics.median(seconds),
            "share waiting": statistics.median(epoch.waiting / epoch.seconds for epoch in epochs),
            "batches run": count,
        }
        if ("nothing", backend) in found:
            alone = 1 / statistics.median(ratios(found, (way, backend), ("nothing", backend)))
            row.ours["share above the network"] = max(0.0, 1 - alone)
        if seeds in found:
            row.ours["times the seed's cell"] = statistics.median(ratios(found, seeds, (way, backend)))
        row.peer = {"s/epoch": statistics.median(epoch.seconds for epoch in found[BASE])}
        rows.append(row)
    return rows


def whole_epoch(found: dict[Cell, list[Epoch]]) -> Row:
    """Naive loading through Tonic with Sinabs, against our store with fused neurons; both sides run whole epochs to the end."""
    row = Row("whole_epoch_store_fused_vs_naive_sinabs", 10, 14)
    if ("host", "fused") not in found:
        row.skipped = "--rows leaves it out"
        return row
    row.ratios = ratios(found, BASE, ("host", "fused"))
    for figures, cell in ((row.ours, ("host", "fused")), (row.peer, BASE)):
        figures["s/epoch"] = statistics.median(epoch.seconds for epoch in found[cell])
    return row


def ratios(found: dict[Cell, list[Epoch]], slow: Cell, fast: Cell) -> list[float]:
    """Return, for each round, the epoch time of `slow` divided by that of `fast`. A cell is a combination of a way of loading with a backend."""
    return [a.seconds / b.seconds for a, b in zip(found[slow], found[fast], strict=True)]


if __name__ == "__main__":
    main()
