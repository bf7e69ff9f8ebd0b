"""The documentation as a site: what mkdocs itself does not check when ``make docs`` builds it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from tests.site.fetched import fetched

DOCS = Path(__file__).parents[2] / "docs"
README = (DOCS.parent / "README.md").read_text(encoding="utf-8")


def test_llms_txt_has_the_form_and_lists_every_page() -> None:
    """llmstxt.org: a title, a summary in a quotation, then sections with lists of links; decisions have an index of their own."""
    title, summary, *sections = re.split(r"\n\n(?=## |> )", (DOCS / "llms.txt").read_text(encoding="utf-8"))
    assert title == "# spikestore"
    assert summary.startswith("> ")
    links = []
    for section in sections:
        lines = section.strip().splitlines()
        assert lines[1] == ""
        links += [re.fullmatch(r"- \[[^]]+\]\(([^)]+)\)(: .+)?", line) for line in lines[2:]]
    listed = [str(link and link[1]) for link in links]
    pages = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    own_index = {page for page in pages if re.match(r"decisions/0|reference/", page)}
    assert sorted(listed) == sorted(pages - own_index)


@pytest.mark.parametrize(
    ("text", "addresses"),
    [
        ('<script src="https://cdn.example/a.js"></script>', ["https://cdn.example/a.js"]),
        ("<link rel=stylesheet href=//cdn.example/a.css>", ["//cdn.example/a.css"]),
        ('@import "https://cdn.example/b.css"; url(assets/c.png)', ["https://cdn.example/b.css"]),
        (
            '<a href="https://neuroir.org">NIR</a><img src="flow.svg"><link rel="next" href="https://a.b/">',
            [],
        ),
    ],
)
def test_what_a_page_fetches_is_found(text: str, addresses: list[str]) -> None:
    assert [*fetched(text)] == addresses


def test_figures_of_the_readme_are_those_of_the_measurements() -> None:
    """Each ratio of its table is in a row of a page that says how it was measured, and its command is on that page."""
    measured = "".join((DOCS / page).read_text(encoding="utf-8") for page in ("benchmarks.md", "seed.md"))
    cells = set(re.split(r"[|<>×*\s]+", measured))
    table = [line.split("|")[1:-1] for line in README.splitlines() if line.startswith("| ")][1:]
    assert len(table) >= 6
    for what, _, ratio, command in table:
        numbers = re.findall(r"\d[\d.,]*\d", re.sub(r"\]\(.*?\)", "", ratio))
        assert numbers, what
        assert [number for number in numbers if number not in cells] == [], what
        for shown in re.findall(r"`(.+?)(?: --rows \w+)?`", command):
            assert shown in measured, shown


def test_the_readme_fits_on_a_screen() -> None:
    assert len(README.splitlines()) <= 80


def test_every_command_is_in_the_reference() -> None:
    project = tomllib.loads((DOCS.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    commands = project["entry-points"]["spikestore.commands"]
    page = (DOCS / "reference/commands.md").read_text(encoding="utf-8")
    shown = re.findall(r"^::: (\S+)\n    options:\n      heading: spikestore (\S+)$", page, re.MULTILINE)
    assert {name: place for place, name in shown} == {
        name: place.replace(":", ".") for name, place in commands.items()
    }
