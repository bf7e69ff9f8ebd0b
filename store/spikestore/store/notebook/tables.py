"""HTML tables of a store and of a feature set, for notebooks. Texts of a store are escaped, because anybody may have written the store."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from spikestore.store_schemas.documents.address import Address
from spikestore.store_schemas.documents.manifest import Manifest
from spikestore.store_schemas.documents.ref import Ref
from spikestore.store_schemas.errors import StoreError
from spikestore.store_schemas.redaction import redacted

MOST_SETS = 50
"""Maximum number of sets and unreadable names in the table of a store."""


class _Located(Protocol):
    @property
    def url(self) -> str: ...


class ShownSet(Protocol):
    """Attributes of a feature set that its table shows; `FeatureSet` has them."""

    address: Address
    manifest: Manifest

    @property
    def storage(self) -> _Located: ...  # noqa: D102


class ShownStore(Protocol):
    """Methods of a store that are needed to make its table for a notebook; `Store` has them."""

    @property
    def storage(self) -> _Located: ...  # noqa: D102
    def refs(self) -> dict[str, Ref | StoreError]: ...  # noqa: D102
    def __getitem__(self, text: str, /) -> ShownSet: ...


def table_of_set(features: ShownSet) -> str:
    """Return a table with the source, transform, frames and sizes of a set; nothing is read from the store."""
    manifest, layout = features.manifest, features.manifest.layout
    transform = " → ".join(operation.op for operation in manifest.transform.operations)
    events = manifest.events
    rows = [
        ("store", redacted(features.storage.url)),
        ("keys", features.address.short),
        ("digest", manifest.digest[:12]),
        ("transform", transform),
        ("samples", f"{manifest.samples:,}, of which {len(manifest.skipped):,} are skipped"),
        (
            "classes",
            f"{len(layout.classes):,}: {', '.join(layout.classes[:8])}{', …' if len(layout.classes) > 8 else ''}",
        ),
        (
            "frames",
            f"({', '.join(layout.axes)}) = (up to {manifest.n_bins}, {', '.join(map(str, layout.sites))})",
        ),
        ("non-zeros", f"{manifest.nnz:,}; largest value {manifest.max_value:g}"),
        ("events", f"{events.n_events:,} read, {events.n_cropped:,} cropped, {events.n_dropped:,} in no bin"),
    ]
    return html_table(f"{manifest.source.dataset} {manifest.source.split}", ("", ""), rows)


def table_of_store(store: ShownStore) -> str:
    """Return a table with one row for each named set, at most `MOST_SETS` rows; a name or a set that cannot be read is shown with the reason."""
    rows: list[Sequence[str]] = []
    for name, ref in store.refs().items():
        if isinstance(ref, StoreError):
            rows.append((name, str(ref), "", "", ""))
            continue
        rows += [_row(store, name, split) for split in ref.splits]
    shown = rows[:MOST_SETS]
    if len(rows) > MOST_SETS:
        shown.append((f"… and {len(rows) - MOST_SETS:,} more", "", "", "", ""))
    columns = ("name", "dataset", "samples", "non-zeros", "digest")
    return html_table(redacted(store.storage.url), columns, shown)


def _row(store: ShownStore, name: str, split: str) -> Sequence[str]:
    label = f"{name}:{split}"
    try:
        features = store[label]
    except StoreError as error:
        return label, str(error), "", "", ""
    manifest, source = features.manifest, features.manifest.source
    return (
        label,
        f"{source.dataset} {source.split}",
        f"{manifest.samples:,}",
        f"{manifest.nnz:,}",
        manifest.digest[:12],
    )


def html_table(caption: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of texts, which are escaped. If all names of columns are empty, the table has no head."""
    import html  # its list of characters takes a millisecond, and commands show no notebooks

    head = "".join(f"<th>{html.escape(column)}</th>" for column in columns)
    body = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    head = f"<thead><tr>{head}</tr></thead>" if any(columns) else ""
    return f"<table><caption>{html.escape(caption)}</caption>{head}<tbody>{body}</tbody></table>"
