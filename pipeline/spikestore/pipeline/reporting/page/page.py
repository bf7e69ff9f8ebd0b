"""The page: one HTML file that contains everything that it shows. Texts of a store are escaped, because anybody may have written the store."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jinja2

from spikestore.pipeline.reporting.facts.identity import is_key
from spikestore.pipeline.reporting.page import charts
from spikestore.pipeline.reporting.page.gallery import figures
from spikestore.pipeline.reporting.page.vega_script import vega_script
from spikestore.pipeline.reporting.report import Report
from spikestore.store_schemas.layout import Layout
from spikestore.store_schemas.wording import size_text

MOST_CLASSES = 120
"""Maximum number of classes in the charts by class. If a set has more classes, the charts show the first classes that have samples."""

MOST_CELLS = 15_000
"""Maximum number of cells of all confusion matrices together; a cell takes about 70 bytes, and the page stays below 5 MB."""

SHOWN_FIRST = 12
"""Number of samples of the gallery that are visible at once; a click shows the other samples."""

_HERE = Path(__file__).parent

_REASONS = {
    "typical": "typical of its class",
    "shortest": "shortest sample",
    "emptiest": "fewest non-zeros",
    "fullest": "most non-zeros",
}


def page_of(report: Report, layout: Layout, mark: str) -> str:
    """Return the HTML of a report.

    Parameters
    ----------
    report : Report
        The report.
    layout : Layout
        Layout of the sets of the report.
    mark : str
        HTML comment for the second line.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"bytes": size_text, "number": number_text}
    document = report.document
    is_real = document["real_numbers"] is not None
    unit = "cells" if document["real_numbers"] == "to_averaged_timesurface" else "bins"
    shown = figures(
        report.gallery, document["gallery"], layout, document["bin_ms"], unit=unit, is_real=is_real
    )
    specs = dict(_charts(document))
    return environment.get_template("page.html.jinja").render(
        mark=mark,
        doc=document,
        is_real=is_real,
        unit=unit,
        has_negative=any(row["from"] < 0 for row in document["real_values"]),
        identity=document["identity"],
        figures=shown,
        shown_first=SHOWN_FIRST,
        most_classes=MOST_CLASSES,
        reasons=_REASONS,
        left_out=len(document["gallery"]) - len(shown),
        measures=[*dict.fromkeys(row["measure"] for row in document["distributions"])],
        charts=specs,
        code=code(document["identity"], "float32" if is_real else "int16"),
        version=importlib.metadata.version("spikestore"),
        style=(_HERE / "page.css").read_text(encoding="utf-8"),
        script=(_HERE / "page.js").read_text(encoding="utf-8"),
        vega=vega_script(),
    )


def number_text(value: float | None) -> str:
    """Return the text of a number for people, or a hyphen for None.

    A number that is whole or at least 1000 has no decimals; other numbers have four significant digits.
    """
    if value is None:
        return "-"
    return f"{value:,.0f}" if float(value).is_integer() or abs(value) >= 1000 else f"{value:,.4g}"


def _charts(document: Mapping[str, Any]) -> Iterator[tuple[str, charts.Chart]]:
    """Yield name and specification of each chart."""
    if document["real_numbers"] is None:
        yield "losses", charts.events_of_each_split(document["losses"])
    else:
        yield "losses", charts.events_of_real_numbers(document["losses"])
        yield "values", charts.real_values(document["real_values"])
    if document["values"]:
        yield "values", charts.values(document["values"])
    for number, chart in enumerate(charts.sweep(document["bin_widths"]["results"], document["bin_ms"])):
        yield f"sweep-{number}", chart
    classes, distributions = document["classes"], document["distributions"]
    if len(document["identity"]["classes"]) > MOST_CLASSES:
        filled = dict.fromkeys(row["class"] for row in classes if row["samples"])
        shown = {*[*filled][:MOST_CLASSES]}
        classes = [row for row in classes if row["class"] in shown]
        distributions = [row for row in distributions if row["class"] in shown]
    for measure in dict.fromkeys(row["measure"] for row in distributions):
        yield f"distribution-{measure}", charts.distribution(distributions, measure)
    for number, chart in enumerate(charts.channels(document["sites"])):
        yield f"sites-{number}", chart
    yield "classes", charts.classes(classes)
    if document["groups"] is not None:
        yield "groups", charts.groups(document["groups"])
    yield "costs", charts.costs(document["columns"])
    tests = [] if document["linear"] is None else document["linear"]["tests"]
    if len(tests) * len(document["identity"]["classes"]) ** 2 <= MOST_CELLS:
        for number, test in enumerate(tests):
            yield f"confusion-{number}", charts.confusion(test["confusion"], document["identity"]["classes"])


def code(identity: Mapping[str, Any], dtype: str) -> dict[str, str]:
    """Return pieces of code, each under its title, that load the first set of a report; `dtype` is the dtype of the items of `FeatureDataset`."""
    name, store = identity["name"], identity["store"]
    split = identity["splits"][0]["split"]
    label = name if ":" in name or is_key(name, identity["transform_key"]) else f"{name}:{split}"
    opened = f'from spikestore.store import Store\n\nfeatures = Store({store!r})["{label}"]\n'
    axes = ", ".join(identity["axes"])
    return {
        "Read samples": f"{opened}frames = features.frames(0)  # ({axes})\ncolumns = features.read(0, 128)  # index, value, nnz, n_bins, label",
        "Train": f"{opened}\nfrom spikestore.train import FeatureLoader\n\n"
        'loader = FeatureLoader(features, 128, shuffle=True, seed=0, device="auto")\n'
        f"for frames, labels, lengths, samples in loader:\n    ...  # frames: float32 (batch, {axes})",
        "A PyTorch data set": f"{opened}\nfrom spikestore.train import FeatureDataset\n\n"
        f"dataset = FeatureDataset(features)\nframes, label = dataset[0]  # {dtype} ({axes})",
    }
