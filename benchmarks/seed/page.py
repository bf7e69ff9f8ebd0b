"""The page of `benchmarks.seed`: tables, the bar plot of the blog post of 2022 (the *seed*), and the plot of one dense sample."""

from __future__ import annotations

import datetime
import platform
from pathlib import Path
from typing import Any

from benchmarks.seed.loadings import WAYS

TITLES = {
    "naive": "Tonic's transforms on every access",
    "disk_cached": "`DiskCachedDataset`, warm",
    "sparse_list": "the seed's list of sparse tensors",
    "stream": "spikestore, `stream`",
    "host": "spikestore, `host`",
    "device": "spikestore, `device`",
    "nothing": "no loading: the same batch every time",
}
BACKENDS = {
    "sinabs": "Sinabs",
    "unbind": "Sinabs with `unbind`",
    "exodus": "EXODUS",
    "fused": "fused",
}
COLOURS = {"sinabs": "#b0413e", "unbind": "#e08e45", "exodus": "#6b7a8f", "fused": "#2a7f62"}
PUBLISHED = {"naive": (194, 107), "disk_cached": (190, 19), "sparse_list": (192, 16)}
"""Seconds per epoch with Sinabs and with EXODUS, on an RTX 2070, in the post of 2022."""

PAGE = """# The seed experiment

How long does an epoch take? This page compares all combinations of a way of loading and a backend of the network. spikestore grew from a
blog post of 2022, "Training spiking neural networks, fast" (the *seed*), which compared three of the ways and two of the backends.
The network is the same: 100 inputs, three layers of 128 neurons, 35 outputs, 250 time bins of 4 ms. The loop is the same: states
start at 0, forward pass, cross entropy of the outputs summed over time, backward pass, no optimiser step.

`{command}` wrote this page{when}: {samples} {recordings} ({nnz} non-zeros),
batches of {batch} ({left_out}), on {cores} cores{device}, Python {python}, torch {torch};
{rounds} rounds in {seconds} s; load average of the system: {load_before} before and {load_after} after. Tonic's transforms and `DiskCachedDataset` run in {workers} persistent
worker processes, the list of sparse tensors needs no workers, spikestore uses {workers} threads, and the network uses {threads} threads. All files are in the page cache.

![Bars of seconds per epoch]({bars})

## Seconds per epoch

First line of a cell: the median of the rounds, and the best round in brackets. Second line: how many times faster than Tonic with
Sinabs (median of the rounds' ratios), and the share of time spent loading: {share}.

{table}

{cut}"unbind" is Sinabs with one line changed: its loop reads time steps from `x.unbind(1)` instead of `x[:, t]`. This
alone makes its backward pass several times faster.{overlap}{absent}

{headline}

## Compared with the seed's list of sparse tensors

The table says how many times faster each way is than the {seeds_cell}. In the seed's own results, this list with EXODUS was the fastest way{unmeasured}:

{against}

## Results of the seed

On an RTX 2070, with 75,466 recordings of SSC, 589 batches of 128 and 4 workers, each measured once:

{published}

## One sample

![One dense sample]({sample})
"""


def write_page(folder: Path, document: dict[str, Any], dataset: Any) -> None:
    """Write ``seed.md``, ``seed-epochs.png`` and ``seed-sample.png``.

    Parameters
    ----------
    folder : Path
        Folder of the page; created if it does not exist.
    document : dict
        The results, as ``python -m benchmarks.seed --json`` writes them.
    dataset : tonic.Dataset
        Data set whose first sample is plotted.
    """
    folder.mkdir(parents=True, exist_ok=True)
    cells = {row["name"]: row for row in document["rows"] if "batches run" in row.get("ours", {})}
    bars, sample = "seed-epochs.png", "seed-sample.png"
    draw_bars(cells, folder / bars)
    draw_sample(dataset, folder / sample)
    text = PAGE.format(**_facts(document), bars=bars, sample=sample, **_tables(cells, document))
    (folder / "seed.md").write_text(text, encoding="utf-8")


def _facts(document: dict[str, Any]) -> dict[str, Any]:
    machine, data = document["machine"], document["data"]
    facts = {**machine, **data, "nnz": f"{data['nnz']:,}", "samples": f"{data['samples']:,}"}
    rest = data["samples"] % data["batch"]
    facts["left_out"] = f"a smaller last batch of {rest} is left out" if rest else "all full"
    facts["device"] = "" if machine["device"] == "cpu" else f" and a GPU ({_gpu()})"
    facts["when"] = f" on {datetime.date.today().isoformat()}, {platform.machine()}"
    facts["command"] = data["command"]
    made = data["recordings"] == "spikestore demo-data"
    facts["recordings"] = (
        "recordings that `spikestore demo-data` makes" if made else f"recordings of {data['recordings']}"
    )
    return facts


def _gpu() -> str:
    import torch

    return str(torch.cuda.get_device_name())


def _tables(cells: dict[str, Any], document: dict[str, Any]) -> dict[str, str]:
    whole = document["data"]["batches"]
    present = [one for one in BACKENDS if any(name.endswith(f"_{one}") for name in cells)]
    on_cpu = document["machine"]["device"] == "cpu"
    share = "share waiting" if on_cpu else "share above the network"
    seeds = "exodus" if "sparse_list_exodus" in cells else "sinabs"

    def cell(name: str) -> str:
        if name not in cells:
            return "-"
        row = cells[name]
        ours, star = row["ours"], "" if row["ours"]["batches run"] == whole else "*"
        return (
            f"{ours['s/epoch']:.3g} ({ours['s/epoch at best']:.3g}){star}<br>"
            f"{row['value']:.3g}×, {ours.get(share, 0):.0%}"
        )

    def against(name: str) -> str:
        found = cells.get(name, {}).get("ours", {}).get("times the seed's cell")
        return "-" if found is None else f"{found:.3g}×"

    def table(text: Any) -> str:
        lines = [["loading", *(BACKENDS[one] for one in present)], ["---"] * (len(present) + 1)]
        lines += [[title, *(text(f"{way}_{one}") for one in present)] for way, title in TITLES.items()]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)

    counts: dict[str, set[int]] = {}
    for name, row in cells.items():
        if row["ours"]["batches run"] != whole:
            counts.setdefault(name.rpartition("_")[2], set()).add(row["ours"]["batches run"])
    cut = ", ".join(
        f"{' or '.join(map(str, sorted(some)))} with {BACKENDS[backend]}" for backend, some in counts.items()
    )
    absent = "".join(
        f" {BACKENDS[row['name']]} was left out: {row['skipped'].split(':')[0]}."
        for row in document["rows"]
        if "skipped" in row and row["name"] in BACKENDS
    )
    last, at_once = document["rows"][-1], document["data"]["workers"]
    return {
        "table": table(cell),
        "against": table(against),
        "share": "the time in which the network waits for a dense batch on the device"
        if on_cpu
        else "the time by which the epoch is longer than without loading",
        "overlap": " Loaders and the network work at the same time on the same cores. A share of 0 therefore does not mean "
        "that loading costs nothing: compare the seconds with those of the last row."
        if on_cpu
        else "",
        "seeds_cell": f"list of sparse tensors with {BACKENDS[seeds]}",
        "unmeasured": "" if seeds == "exodus" else "; EXODUS was not measured here",
        "cut": f"*: only some of the epoch's {whole} batches were run: {cut}. The seconds of the epoch are the time of the first batch, plus "
        f"{whole - 1} times the mean time of the later batches. If {at_once} worker processes load the first {at_once} batches at the "
        f"same time, the seconds of the epoch are the time of these {at_once} batches, plus {whole - at_once} times the mean time of the later batches.\n\n"
        if cut
        else "",
        "absent": absent,
        "headline": _headline(last),
        "published": "| loading | Sinabs | EXODUS |\n|---|---|---|\n"
        + "\n".join(
            f"| {TITLES[way]} | {slow} s | {fast} s, {PUBLISHED['naive'][0] / fast:.3g}× |"
            for way, (slow, fast) in PUBLISHED.items()
        ),
    }


def _headline(row: dict[str, Any]) -> str:
    if "skipped" in row:
        return ""
    missed = "" if row["value"] >= row["target"] else ", which is missed"
    return (
        f"A whole epoch, run to its end, takes {row['peer']['s/epoch']:.3g} s with Tonic and Sinabs, and "
        f"{row['ours']['s/epoch']:.3g} s with spikestore (`host`) and fused neurons. This is **{row['value']:.3g} times faster** (rounds: "
        f"{row['low']:.3g} to {row['high']:.3g}; the target is {row['target']:g}{missed})."
    )


def _pyplot() -> Any:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    return plt


def draw_bars(cells: dict[str, Any], path: Path) -> None:
    """Draw the plot of the blog post: a bar with the seconds per epoch for each pair of loading and backend."""
    plt = _pyplot()
    present = [one for one in BACKENDS if any(name.endswith(f"_{one}") for name in cells)]
    figure, axes = plt.subplots(figsize=(9, 4.2), layout="constrained")
    width = 0.84 / len(present)
    for place, backend in enumerate(present):
        bars = [
            (x, cells[f"{way}_{backend}"]["ours"]["s/epoch"])
            for x, way in enumerate(WAYS)
            if f"{way}_{backend}" in cells
        ]
        shift = (place - (len(present) - 1) / 2) * width
        drawn = axes.bar(
            [x + shift for x, _ in bars],
            [seconds for _, seconds in bars],
            width,
            color=COLOURS[backend],
            label=BACKENDS[backend].replace("`", ""),
        )
        axes.bar_label(drawn, labels=[f"{seconds:.2g}" for _, seconds in bars], fontsize=7, padding=1)
    axes.set_yscale("log")
    axes.set_xticks(range(len(WAYS)), [way.replace("_", "\n") for way in WAYS])
    axes.set_ylabel("s / epoch (log)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, ncols=len(present), loc="lower center", bbox_to_anchor=(0.5, 1.0))
    figure.savefig(path, dpi=100)
    plt.close(figure)


def draw_sample(dataset: Any, path: Path) -> None:
    """Save the plot of the blog post in docs/seed.md for the first sample: event counts over time steps and channels."""
    plt = _pyplot()
    frames, label = dataset[0]
    figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
    image = axes.imshow(frames.squeeze().T, aspect="auto", interpolation="nearest")
    axes.set(xlabel="Time step", ylabel="Channel")
    axes.set_title(f"Spoken digit label: {dataset.classes[label].decode('ascii')}")
    figure.colorbar(image, label="events")
    figure.savefig(path, dpi=100)
    plt.close(figure)
