"""The plots of the page of benchmarks have the numbers of its tables."""

from __future__ import annotations

import re
from types import SimpleNamespace

from tests.site.benchmark_plots import Ratio, on_page_markdown, ratios_of, with_plots
from tests.site.test_site import DOCS

TABLE = """\
| row | value | low to high | target | | ours | peer |
|---|---|---|---|---|---|---|
| `fast` & easy | 10 | 1 to 100 | ≥ 20 | missed narrowly | 10 MB/s | 1 |
| memory | 0.5 | | ≤ 1/3 | missed: reason | 5 MB | 10 |
| no target | 2.5 | 2 to 3 | | | 5 | 2 |
| seconds | 4 | 4 to 4 | ≤ 4 | met | | |
| growth | \N{MINUS SIGN}0.04 | \N{MINUS SIGN}0.1 to 0.04 | ≤ 0.05 | met | 1 | 1 |
| at zero | 1.5 | 0 to 3 | ≥ 1 | met | 1 | 1 |
| thousands | 1,000 | 900 to 1,100 | | | 1 | 1 |
| unit | 0.5 s | 0.4 to 0.6 | ≤ 1 | met | 1 | 1 |
"""


def test_rows_that_are_ratios() -> None:
    assert [*ratios_of(TABLE)] == [
        Ratio("`fast` & easy", 10, 1, 100, 20, "missed"),
        Ratio("memory", 0.5, 0.5, 0.5, 1 / 3, "missed"),
        Ratio("no target", 2.5, 2, 3, None, ""),
        Ratio("thousands", 1000, 900, 1100, None, ""),
    ]
    assert [*ratios_of("| rows | ours |\n|---|---|\n| a | 1 |\n")] == []


def test_places_on_the_axis() -> None:
    """The axis goes from 0.1 to 100, so a factor of 10 is a third of its width."""
    table = TABLE.replace("| thousands | 1,000 | 900 to 1,100 | | | 1 | 1 |\n", "")
    page = with_plots(f"Before.\n\n{table}\nAfter.\n")
    plot, after = page.removeprefix("Before.\n\n").split("\n\n", 1)
    assert after == f"{table}\nAfter.\n"
    assert "\n" not in plot
    assert "<code>fast</code> &amp; easy" in plot
    assert re.findall(r'"value" style="left:([\d.]+)%', plot) == ["66.7", "23.3", "46.6"]
    assert re.findall(r'"range" style="left:([\d.]+)%;right:calc\(100% - ([\d.]+)%', plot)[0] == (
        "33.3",
        "100.0",
    )
    assert re.findall(r'"target" style="left:([\d.]+)%', plot) == ["76.7", "17.4"]
    assert re.findall(r'<div class="(\w*)"><span>', plot) == ["missed", "missed", "", "axis"]
    ones = with_plots(re.sub(r"\d[\d.,]*", "1", table))
    assert re.findall(r'"value" style="left:([\d.]+)%', ones)[0] == "0.0"
    assert (
        with_plots("| row | value | low to high | target | |\n|---|---|---|---|---|\n").count("figure") == 0
    )


def test_each_section_with_ratios_has_a_plot() -> None:
    text = (DOCS / "benchmarks.md").read_text(encoding="utf-8")
    page, other = (
        SimpleNamespace(file=SimpleNamespace(src_uri=name)) for name in ("benchmarks.md", "seed.md")
    )
    assert on_page_markdown(text, page=page, config=None).count('<figure class="ratios"') >= 7
    assert on_page_markdown(text, page=other) == text
