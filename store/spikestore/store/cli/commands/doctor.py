"""``spikestore doctor``: check this machine, its packages and a store."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from spikestore.store.cli.commands.options import JsonOption, StoreOption
from spikestore.store.cli.console import print_json, say, stdout_console, visible
from spikestore.store.cli.interrupts import raise_dropped_interrupt
from spikestore.store_schemas.wording import plural

if TYPE_CHECKING:
    from spikestore.store.doctor.findings import Finding

_SIGNS = {"ok": "ok", "absent": "-", "problem": "PROBLEM"}


def doctor(store: StoreOption = None, as_json: JsonOption = False) -> None:
    """Check this machine, the installed packages and a store, and say how to fix each problem; if there is a problem, the exit status is 1.

    A small set is built in a temporary folder, and its digest is compared with the expected digest, which is the same for all
    machines. In the store, an object is written, read and removed.

    Examples
    --------
    spikestore doctor --store ./feature_store
    """
    from spikestore.store.doctor.findings import findings_of, findings_of_entry_points
    from spikestore.store.doctor.machine_checks import machine_checks
    from spikestore.store.doctor.store_checks import store_checks
    from spikestore.store.store import default_location

    location = str(default_location() if store is None else store)
    topics = {"machine": findings_of(machine_checks), "store": findings_of(lambda: store_checks(location))}
    topics |= dict(findings_of_entry_points())
    raise_dropped_interrupt()  # the checks import packages, torch among them
    problems = sum(finding.state == "problem" for found in topics.values() for finding in found)
    if as_json:
        print_json(
            {
                "problems": problems,
                **{topic: [asdict(finding) for finding in found] for topic, found in topics.items()},
            }
        )
    else:
        _show(topics)
        say("no problems found" if not problems else f"{plural(problems, 'problem')} found")
    if problems:
        raise typer.Exit(1)


def _show(topics: dict[str, list[Finding]]) -> None:
    console = stdout_console()
    for topic, found in topics.items():
        console.print(topic, markup=False)
        width = max((len(finding.what) for finding in found), default=0)
        for finding in found:
            line = f"  {_SIGNS[finding.state]:8}{finding.what:{width}}  {finding.detail}"
            console.print(visible(line), markup=False, emoji=False, soft_wrap=True)
            if finding.remedy is not None and finding.state != "ok":
                console.print(
                    visible(f"{'':{width + 12}}{finding.remedy}"), markup=False, emoji=False, soft_wrap=True
                )
