"""Writes the page of a report. The packages of the extra ``report`` are imported only when they are used."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from spikestore.pipeline.reporting.report import Report
from spikestore.store.machine import absolute_path
from spikestore.store.storage.durable_files import replacing
from spikestore.store_schemas.errors import MissingExtraError, UsageError
from spikestore.store_schemas.layout import Layout

MARK = "<!-- report of spikestore -->"
"""Second line of a page, by which a former report is recognised."""

_PACKAGES = ("jinja2", "PIL", "vl_convert")


def page_file(out: str | Path) -> Path:
    """Return the absolute path of a report's page, after checking that the page can be written there.

    Raises
    ------
    MissingExtraError
        A package of the extra ``report`` is not installed.
    UsageError
        The path is a folder, is in a folder that does not exist, or is a file that is not a report.
    """
    missing = next((module for module in _PACKAGES if find_spec(module) is None), None)
    if missing is not None:
        raise MissingExtraError(
            f"the page of a report needs {missing}: pip install 'spikestore[report]', or pass --json for the facts alone",
            extra="report",
            module=missing,
        )
    path = absolute_path(out)
    if any(parent.is_file() for parent in path.parents):
        raise UsageError(f"{path} is inside a file: pass another --out", path=str(path))
    if not path.parent.is_dir():
        raise UsageError(f"{path.parent} does not exist: create it, or pass another --out", path=str(path))
    if path.is_dir():
        raise UsageError(f"{path} is a folder: pass --out with the name of a file", path=str(path))
    if path.exists() and MARK not in path.read_bytes()[:200].decode("utf-8", "replace"):
        raise UsageError(
            f"{path} exists, and is not a report of spikestore: pass another --out, or delete it",
            path=str(path),
        )
    return path


def write_page(report: Report, layout: Layout, path: Path) -> int:
    """Write the page of a report, and return its size in bytes. An interrupted write leaves a former page as it is."""
    from spikestore.pipeline.reporting.page.page import page_of

    data = page_of(report, layout, MARK).encode("utf-8")
    try:
        with replacing(path, sync=False) as temporary:
            temporary.write_bytes(data)
    except OSError as error:
        error.filename = str(path)  # a failed write, for example on a full disk, names no file
        raise
    return len(data)
