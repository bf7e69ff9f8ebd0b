"""The result of ``benchmarks.gpu``: one JSON and one page, written anew after every part."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from benchmarks.gpu.parts import Outcome

_MARKS = {"higher": "≥", "lower": "≤"}


def write_results(folder: Path, machine: dict[str, Any], outcomes: list[Outcome]) -> None:
    """Write ``gpu.json`` and ``gpu.md``.

    Each file is replaced as a whole: if the process is killed, the former file stays.
    """
    document = {
        "benchmark": "gpu",
        "machine": machine,
        "parts": [dataclasses.asdict(outcome) for outcome in outcomes],
    }
    _replace(folder / "gpu.json", json.dumps(document, indent=1) + "\n")
    _replace(folder / "gpu.md", page(machine, outcomes))


def page(machine: dict[str, Any], outcomes: list[Outcome]) -> str:
    """Return the page, as Markdown."""
    facts = ", ".join(f"{name} {value}" for name, value in machine.items() if value is not None)
    lines = ["# On a GPU", "", f"`python3 -m benchmarks.gpu` on: {facts}.", ""]
    lines += ["| part | what | result | seconds |", "|---|---|---|---|"]
    for one in outcomes:
        result = f"{one.status}: {_cell(one.reason)}" if one.reason else one.status
        lines.append(f"| {one.name} | {_cell(one.what)} | {result} | {one.seconds:.0f} |")
    measured = [one for one in outcomes if one.document and one.document.get("rows")]
    if measured:
        lines += ["", "## Rows", "", "| part | row | value | low to high | target | | ours | peer |"]
        lines.append("|---|---|---|---|---|---|---|---|")
        lines += [_row(one.name, row) for one in measured for row in (one.document or {})["rows"]]
    for one in outcomes:
        if one.status in ("failed", "out of time") and one.tail:
            lines += ["", f"## {one.name}: {one.status}", "", f"`{one.command}`", "", "```", *one.tail, "```"]
    return "\n".join(lines) + "\n"


def _row(part: str, row: dict[str, Any]) -> str:
    if "skipped" in row:
        return f"| {part} | {row['name']} | - | | | skipped: {_cell(row['skipped'])} | | |"
    value, target = row["value"], row.get("target")
    bound, verdict = "", ""
    if target is not None:
        higher = row["better"] == "higher"
        bound = f"{_MARKS[row['better']]} {target:.3g}"
        verdict = "met" if (value >= target if higher else value <= target) else "MISSED"
    ours, peer = (
        ", ".join(f"{number:,.4g} {unit}" for unit, number in row.get(side, {}).items())
        for side in ("ours", "peer")
    )
    return (
        f"| {part} | {row['name']} | {value:.3g} | {row['low']:.3g} to {row['high']:.3g} | {bound} | {verdict} "
        f"| {ours} | {peer} |"
    )


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
