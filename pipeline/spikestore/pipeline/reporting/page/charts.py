"""Charts of the report as Vega-Lite specifications. Colours and fonts are set by the page, because they depend on its theme."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from spikestore.pipeline.reporting.facts.sites import pooled

SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
VERSION = "6.4"
"""Version of Vega-Lite that the page contains."""

_SIDE = 64
"""Maximum number of rows and columns of the map of pixels."""

_ROW = 13
"""Height of a bar in pixels."""

MOST_GROUPS = 40

_OF_EVENTS = "share of the events that were read"

Chart = dict[str, Any]


def _chart(values: Sequence[Mapping[str, Any]], **parts: Any) -> Chart:
    return {
        "$schema": SCHEMA,
        "data": {"values": [*values]},
        "width": "container",
        "autosize": {"type": "fit-x", "contains": "padding"},
        **parts,
    }


def _number(field: str, title: str, **more: Any) -> dict[str, Any]:
    return {"field": field, "type": "quantitative", "title": title, **more}


def _name(field: str, title: str | None, **more: Any) -> dict[str, Any]:
    return {"field": field, "type": "nominal", "title": title, "sort": None, **more}


def _split_colour() -> dict[str, Any]:
    return _name("split", "split")


def events_of_each_split(losses: Mapping[str, Mapping[str, Any]]) -> Chart:
    """Return a bar for each split, with the shares of its events.

    The first part of a bar has one event for each non-zero. The other four parts are the merged events, the clipped events, the events in no bin, and the cropped events. If bins overlap, an event counts once for each bin that it is in, and the title of the axis says so.
    """
    overlap = any(
        lost["clipped"] is None or lost["counted"] + lost["in_no_bin"] + lost["cropped"] > lost["read"]
        for lost in losses.values()
    )
    parts = {
        "one event per non-zero": "non_zeros",
        "merged": "merged",
        "clipped": "clipped",
        "in no bin": "in_no_bin",
        "cropped": "cropped",
    }
    rows = [
        {"split": split, "part": part, "order": order, "events": lost[field] or 0}
        for split, lost in losses.items()
        for order, (part, field) in enumerate(parts.items())
    ]
    title = "share of the events, each counted once per bin" if overlap else _OF_EVENTS
    return _shares(rows, [*parts], len(losses), title)


def _shares(rows: Sequence[Mapping[str, Any]], parts: Sequence[str], bars: int, title: str) -> Chart:
    return _chart(
        rows,
        height=34 * bars,
        mark={"type": "bar", "tooltip": True},
        encoding={
            "y": _name("split", "split"),
            "x": _number("events", title, stack="normalize", axis={"format": "%"}),
            "color": _name("part", None, scale={"domain": [*parts]}, legend={"columns": 3}),
            "order": {"field": "order"},
        },
    )


def events_of_real_numbers(losses: Mapping[str, Mapping[str, Any]]) -> Chart:
    """Return bars for sets of real numbers: the shares of the events that are in the frames, that are in no bin, and that were cropped."""
    parts = ("in the frames", "in no bin", "cropped")
    rows = [
        {"split": split, "part": part, "order": order, "events": events}
        for split, lost in losses.items()
        for order, (part, events) in enumerate(
            zip(
                parts,
                (lost["read"] - lost["in_no_bin"] - lost["cropped"], lost["in_no_bin"], lost["cropped"]),
                strict=True,
            )
        )
    ]
    return _shares(rows, parts, len(losses), _OF_EVENTS)


def real_values(rows: Sequence[Mapping[str, Any]]) -> Chart:
    """Return a line chart: for each interval of values, the share of the non-zeros that are in this interval."""
    totals: dict[str, int] = {}
    for row in rows:
        totals[row["split"]] = totals.get(row["split"], 0) + row["non_zeros"]
    shares = [{**row, "share": row["non_zeros"] / max(totals[row["split"]], 1)} for row in rows]
    return _chart(
        shares,
        height=180,
        mark={"type": "line", "interpolate": "step-after", "tooltip": True},
        encoding={
            "x": _number("from", "value", scale={"nice": False}),
            "y": _number("share", "share of the non-zeros", axis={"format": "%"}),
            "color": _split_colour(),
        },
    )


def values(rows: Sequence[Mapping[str, Any]]) -> Chart:
    """Return a bar chart: for each value, the share of the non-zeros that have this value."""
    totals: dict[str, int] = {}
    for row in rows:
        totals[row["split"]] = totals.get(row["split"], 0) + row["non_zeros"]
    shares = [{**row, "share": row["non_zeros"] / totals[row["split"]]} for row in rows]
    return _chart(
        shares,
        height=180,
        mark={"type": "bar", "tooltip": True},
        encoding={
            "x": _name("value", "value: events in one cell", axis={"labelAngle": 0}),
            "xOffset": _name("split", None),
            "y": _number("share", "share of the non-zeros", axis={"format": "%"}),
            "color": _split_colour(),
        },
    )


def distribution(rows: Sequence[Mapping[str, Any]], measure: str) -> Chart:
    """Return a box for each class and split: 5 % to 95 % as a line, the middle half as a bar, the median as a tick."""
    chosen = [row for row in rows if row["measure"] == measure and not row["all"]]
    title = f"{measure} ({chosen[0]['unit']})"
    return _chart(
        chosen,
        height=_ROW * len(chosen),
        encoding={
            "y": _name("class", "class"),
            "yOffset": _name("split", None),
        },
        layer=[
            {
                "mark": {"type": "rule"},
                "encoding": {
                    "x": _number("p5", title, scale={"zero": False}, axis={"orient": "top"}),
                    "x2": {"field": "p95"},
                    "color": _split_colour(),
                },
            },
            {
                "mark": {"type": "bar", "tooltip": {"content": "data"}},
                "encoding": {
                    "x": _number("p25", title),
                    "x2": {"field": "p75"},
                    "color": _split_colour(),
                },
            },
            {
                "mark": {"type": "tick", "color": "#fff", "thickness": 2},
                "encoding": {"x": _number("median", title)},
            },
        ],
    )


def channels(sites: Mapping[str, Any]) -> list[Chart]:
    """Return a chart of the events at each channel, with a line for each polarity. If the sensor has a y axis, return a map of the pixels for each polarity instead."""
    seconds = sites["mean_seconds"]
    if "mean_absolute_sum" in sites:
        events, unit = np.array(sites["mean_absolute_sum"]), "sum of absolute values per sample"
    else:
        events = np.array(sites["mean_events"]) / (seconds or 1.0)
        unit = "events per second" if seconds else "events per sample"
    if "y" in sites["axes"]:
        return [_pixels(events[p], unit, p, len(events)) for p in range(len(events))]
    rows = [
        {"channel": channel, "polarity": str(p), "events": events[p, channel]}
        for p, channel in np.ndindex(*events.shape)
    ]
    encoding: dict[str, Any] = {
        "x": _number("channel", "channel", scale={"nice": False}),
        "y": _number("events", unit),
    }
    if len(events) > 1:
        encoding["color"] = _name("polarity", "polarity")
    mark = {"type": "line", "interpolate": "step", "tooltip": True}
    return [_chart(rows, height=200, mark=mark, encoding=encoding)]


def _pixels(events: Any, unit: str, polarity: int, polarities: int) -> Chart:
    means, side = pooled(events, _SIDE)
    rows = [
        {"x": x * side, "y": y * side, "events": round(float(means[y, x]), 6)}
        for y, x in np.ndindex(*means.shape)
    ]
    title = f"{unit} and pixel" + (f", polarity {polarity}" if polarities > 1 else "")
    ends = {"labelOverlap": True, "values": [*range(0, max(events.shape), max(side, max(events.shape) // 4))]}
    return _chart(
        rows,
        height=300,
        mark={"type": "rect", "tooltip": True},
        encoding={
            "x": {"field": "x", "type": "ordinal", "title": "x (pixels)", "axis": {**ends, "labelAngle": 0}},
            "y": {"field": "y", "type": "ordinal", "title": "y (pixels)", "axis": ends},
            "color": _number("events", title, scale={"scheme": "viridis", "type": "sqrt"}),
        },
    )


def classes(rows: Sequence[Mapping[str, Any]]) -> Chart:
    """Return bars with the number of samples of each class in each split."""
    return _samples(rows, "class", "class")


def groups(found: Mapping[str, Any]) -> Chart:
    """Return bars with the number of samples of the largest groups, such as speakers, in each split."""
    largest = [*dict.fromkeys(row["group"] for row in found["samples"])][:MOST_GROUPS]
    rows = [row for row in found["samples"] if row["group"] in largest]
    return _samples(rows, "group", found["column"])


def _samples(rows: Sequence[Mapping[str, Any]], field: str, title: str) -> Chart:
    splits = [*dict.fromkeys(row["split"] for row in rows)]
    return _chart(
        [{**row, "order": splits.index(row["split"])} for row in rows],
        height=_ROW * len({row[field] for row in rows}),
        mark={"type": "bar", "tooltip": True},
        encoding={
            "y": _name(field, title),
            "x": _number("samples", "samples", axis={"orient": "top", "tickMinStep": 1}),
            "color": _split_colour(),
            "order": {"field": "order"},
        },
    )


def sweep(results: Sequence[Mapping[str, Any]], bin_ms: float | None) -> list[Chart]:
    """Return a chart for each measured quantity, such as the accuracy: a line over the bin width."""
    unit = "bin width (multiple of this set's bin width)" if bin_ms is None else "bin width (ms)"
    titles = {
        "accuracy": "accuracy of a linear read-out (%)",
        "non_zeros": "non-zeros per sample",
        "stored_bytes": "bytes per sample in the store",
        "density": "density (% of cells)",
        "device_bytes": "bytes per sample in memory",
    }
    charts = []
    for field, title in titles.items():
        rows = [
            {
                "width": one["factor"] * (bin_ms or 1),
                "result": one[field] * (100 if field in ("accuracy", "density") else 1),
                "bins": "this set" if one["factor"] == 1 else "other bins",
            }
            for one in results
            if one[field] is not None
        ]
        if not rows:
            continue
        widths = [row["width"] for row in rows]
        x = _number(
            "width",
            unit,
            scale={"type": "log", "base": 2, "nice": False},
            axis={"values": widths, "format": "~r"},
        )
        y = _number("result", title, scale={"domain": [0, 100]} if field == "accuracy" else {"zero": False})
        colour = _name("bins", None, scale={"domain": ["this set", "other bins"]})
        charts.append(
            _chart(
                rows,
                height=160,
                encoding={"x": x, "y": y},
                layer=[
                    {"mark": {"type": "line", "opacity": 0.5}},
                    {
                        "mark": {"type": "point", "filled": True, "size": 70, "tooltip": True},
                        "encoding": {"color": colour},
                    },
                ],
            )
        )
    return charts


def costs(columns: Sequence[Mapping[str, Any]]) -> Chart:
    """Return bars with stored bytes and entropy of each column."""
    kinds = {"stored_bytes": "stored", "entropy_bytes": "entropy"}
    rows = [
        {"column": row["column"], "kind": kind, "bytes": row[field]}
        for row in columns
        for field, kind in kinds.items()
        if row[field] is not None
    ]
    return _chart(
        rows,
        height=_ROW * 2 * len(columns),
        mark={"type": "bar", "tooltip": True},
        encoding={
            "y": _name("column", "column"),
            "yOffset": _name("kind", None),
            "x": _number("bytes", "bytes", axis={"format": "~s"}),
            "color": _name("kind", None),
        },
    )


def confusion(matrix: Sequence[Sequence[int]], names: Sequence[str]) -> Chart:
    """Return a chart of a confusion matrix: rows are true classes, columns are predicted classes, and a cell shows the share of the row's samples for which the column's class was predicted."""
    counts = np.array(matrix)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    rows = [
        {
            "true": names[true],
            "found": names[found],
            "samples": int(counts[true, found]),
            "share": round(float(shares[true, found]), 4),
        }
        for true, found in np.ndindex(*counts.shape)
        if counts[true].any()
    ]
    return _chart(
        rows,
        height=_ROW * len({row["true"] for row in rows}),
        mark={"type": "rect", "tooltip": True},
        encoding={
            "x": _name(
                "found",
                "class found",
                scale={"domain": [*names]},
                axis={"labelOverlap": True, "orient": "top"},
            ),
            "y": _name("true", "true class"),
            "color": _number(
                "share", "share of the true class", scale={"scheme": "viridis", "domain": [0, 1]}
            ),
        },
    )
