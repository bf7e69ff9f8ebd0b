"""A hook of mkdocs: each table of ratios in ``docs/benchmarks.md`` is preceded by a plot of its rows.

The numbers are those of the table, so that there is no second copy of them. A row is drawn if its value is a ratio to a peer: a positive number
without a unit and, where the table has a column ``peer``, with a peer. The axis is logarithmic.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

PAGE = "benchmarks.md"
FEWEST_ROWS = 3
_TABLE = re.compile(r"^(?:\|.*\|\n)+", re.MULTILINE)
_NUMBER = re.compile(r"(\d[\d.,]*)(?:/(\d+))?")


class Ratio(NamedTuple):
    """A row of a table; without a target, `target` is None and `verdict` empty."""

    name: str
    value: float
    low: float
    high: float
    target: float | None
    verdict: str


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Return a page for mkdocs, with plots if it is the page of benchmarks."""
    return with_plots(markdown) if page.file.src_uri == PAGE else markdown


def with_plots(markdown: str) -> str:
    """Return a page with a plot before each table that has enough ratios."""

    def with_plot(table: re.Match[str]) -> str:
        ratios = [*ratios_of(table[0])]
        return (f"{_plot(ratios)}\n\n" if len(ratios) >= FEWEST_ROWS else "") + table[0]

    return _TABLE.sub(with_plot, markdown)


def ratios_of(table: str) -> Iterator[Ratio]:
    """Yield the ratios of a table; none if it lacks the columns ``row``, ``value``, ``low to high`` or ``target``."""
    header, _, *lines = ([cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines())
    if not {"row", "value", "low to high", "target"} <= {*header}:
        return
    for line in lines:
        cells = dict(zip(header, line, strict=True))
        value = _NUMBER.fullmatch(cells["value"])
        if value is None or value[2] or not _float(value[1]) or not cells.get("peer", "-"):
            continue
        number = _float(value[0])
        found = [_float(one[1]) for one in _NUMBER.finditer(cells["low to high"])] or [number]
        low, high = min(found), max(found)
        if low == 0:  # it has no place on a logarithmic axis
            continue
        target = _NUMBER.search(cells["target"])
        limit = _float(target[1]) / _float(target[2] or "1") if target else None
        yield Ratio(cells["row"], number, low, high, limit, cells[""].split(" ")[0].rstrip(":"))


def _float(text: str) -> float:
    return float(text.replace(",", ""))


def _plot(ratios: list[Ratio]) -> str:
    numbers = [number for one in ratios for number in (one.low, one.value, one.high, one.target) if number]
    first, last = math.floor(math.log10(min(numbers))), math.ceil(math.log10(max(numbers)))
    last = max(last, first + 1)

    def place(number: float) -> str:
        return f"{100 * (math.log10(number) - first) / (last - first):.1f}%"

    parts = []
    for one in ratios:
        marks = [f'<i class="peer" style="left:{place(1)}"></i>'] if first <= 0 <= last else []
        marks.append(
            f'<i class="range" style="left:{place(one.low)};right:calc(100% - {place(one.high)})"></i>'
        )
        if one.target is not None:
            marks.append(f'<i class="target" style="left:{place(one.target)}"></i>')
        marks.append(f'<i class="value" style="left:{place(one.value)}"></i>')
        name = re.sub(r"`(.+?)`", r"<code>\1</code>", html.escape(one.name, quote=False))
        parts.append(
            f'<div class="{one.verdict}"><span>{name}</span><span class="track">{"".join(marks)}</span><b>{one.value:g}</b></div>'
        )
    ticks = "".join(
        f'<i style="left:{place(10.0**power)}">{10.0**power:g}</i>' for power in range(first, last + 1)
    )
    axis = f'<div class="axis"><span></span><span class="track">{ticks}</span><b></b></div>'
    caption = "The ratios of the table below on a logarithmic axis: value (dot), low to high (bar), target (line). An empty dot misses its target."
    return f'<figure class="ratios" role="img" aria-label="Plot of the ratios in the table below">{"".join(parts)}{axis}<figcaption>{caption}</figcaption></figure>'
