"""Drawing of small pictures in SVG: a row of panels, each with events or with the counts of frames.

A picture has a background of its own, so that it can be read on light and on dark pages. Its colours follow the reader's system.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH, HEIGHT, GAP, TOP, BOTTOM = 140, 96, 30, 42, 22
"""Pixels: size of a panel, space between panels, space for the title above and for labels below."""

STYLE = (
    ".c{fill:#f4f6f6}.p{fill:#fff;stroke:#90a4ae}text{font:11px system-ui,sans-serif;fill:#263238}.b{font-weight:600}"
    ".a{stroke:#607d8b;stroke-width:2;fill:none}.on{color:#00695c}.off{color:#c2410c}"
    "@media(prefers-color-scheme:dark){.c{fill:#263238}.p{fill:#1c2529;stroke:#78909c}text{fill:#eceff1}"
    ".a{stroke:#b0bec5}.on{color:#4db6ac}.off{color:#ffab91}}"
)


@dataclass(frozen=True)
class Panel:
    """One panel.

    Attributes
    ----------
    across, up : str
        Labels of the two axes. All panels of a picture have the same axis up.
    size : tuple of float
        Length of the axis across, and of the axis up.
    events : tuple of (across, up, polarity)
        Events, each a mark: a dot for polarity 1, a square for 0.
    counts : tuple of (across, up, polarity, value)
        Values of cells of length 1; the two polarities share a cell, 1 above 0.
    has_own_scale : bool
        Whether the largest value of this panel has the full colour; otherwise, the largest value of all panels has it.
    """

    across: str
    up: str
    size: tuple[float, float]
    events: tuple[tuple[float, float, int], ...] = ()
    counts: tuple[tuple[int, int, int, float], ...] = ()
    has_own_scale: bool = False


def picture(title: str, subtitle: str, panels: Sequence[Panel], joins: Sequence[str]) -> str:
    """Return a picture as SVG.

    Parameters
    ----------
    title, subtitle : str
        Two lines of text.
    panels : sequence of Panel
        From left to right.
    joins : sequence of str
        What is between two neighbouring panels: ``→`` or ``+``.
    """
    largest = _largest(panels)
    width = len(panels) * WIDTH + (len(panels) - 1) * GAP + 2 * 15
    height = TOP + HEIGHT + BOTTOM
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img">',
        f"<title>{escape(title)}</title><style>{STYLE}</style>",
        f'<rect class="c" width="{width}" height="{height}" rx="6"/>',
        f'<text class="b" x="15" y="16">{escape(title)}</text><text x="15" y="32">{escape(subtitle)}</text>',
    ]
    for number, panel in enumerate(panels):
        left = 15 + number * (WIDTH + GAP)
        parts += _drawn(panel, left, _largest([panel]) if panel.has_own_scale else largest)
        if number == 0:
            parts.append(f'<text x="4" y="{TOP + HEIGHT / 2:g}">{escape(panel.up)}</text>')
        else:
            parts.append(_join(joins[number - 1], left - GAP / 2))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _largest(panels: Iterable[Panel]) -> float:
    return max((abs(value) for panel in panels for *_, value in panel.counts), default=1)


def _join(kind: str, middle: float) -> str:
    y = TOP + HEIGHT / 2
    lines = f"M{middle - 8:g} {y:g}h16" + ("m-6-6l6 6l-6 6" if kind == "→" else f"M{middle:g} {y - 8:g}v16")
    return f'<path class="a" d="{lines}"/>'


def _drawn(panel: Panel, left: float, largest: float) -> Iterable[str]:
    yield f'<rect class="p" x="{left}" y="{TOP}" width="{WIDTH}" height="{HEIGHT}"/>'
    yield f'<text x="{left + WIDTH / 2:g}" y="{TOP + HEIGHT + 15}" text-anchor="middle">{escape(panel.across)}</text>'
    across, up = WIDTH / panel.size[0], HEIGHT / panel.size[1]
    marks: defaultdict[int, str] = defaultdict(str)
    for x, y, polarity in panel.events:
        marks[polarity] += f"M{left + x * across:.1f} {TOP + HEIGHT - (y + 0.5) * up:.1f}h0"
    for polarity, path in sorted(marks.items()):
        kind, cap = ("on", "round") if polarity else ("off", "square")
        thickness = 5 if polarity else 3.4
        yield f'<path class="{kind}" d="{path}" stroke="currentColor" stroke-width="{thickness}" stroke-linecap="{cap}"/>'
    cells: defaultdict[tuple[int, float], str] = defaultdict(str)
    for x, y, polarity, value in panel.counts:
        opacity = round(0.35 + 0.65 * abs(value) / largest, 2)
        corner = f"M{left + x * across:.1f} {TOP + HEIGHT - (y + (1 + polarity) / 2) * up:.1f}"
        cells[polarity, opacity] += f"{corner}h{across:.1f}v{up / 2:.1f}h-{across:.1f}z"
    for (polarity, opacity), path in sorted(cells.items()):
        kind = "on" if polarity else "off"
        yield f'<path class="{kind}" d="{path}" fill="currentColor" fill-opacity="{opacity}"/>'
