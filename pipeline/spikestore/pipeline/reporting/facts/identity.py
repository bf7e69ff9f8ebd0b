"""What a set is, where it comes from, and how to make it again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

from spikestore.pipeline.exporting.description import terms
from spikestore.store import FeatureSet
from spikestore.store_schemas.redaction import redacted

MOST_FILES = 20
"""Maximum number of source files that are listed."""


def identity(name: str, splits: Mapping[str, FeatureSet]) -> dict[str, Any]:
    """Return what identifies the sets (names, keys, digests, source), and a recipe and a command that build them again.

    Parameters
    ----------
    name : str
        ``NAME``, ``NAME:SPLIT`` or a key, as it was requested.
    splits : mapping of str to FeatureSet
        The sets.
    """
    first = next(iter(splits.values()))
    manifest = first.manifest
    licence, citation = terms(manifest)
    how, store = manifest.provenance, redacted(first.storage.url)
    by_key = is_key(name, first.address.transform_key)
    recipe = recipe_text(
        "rebuilt" if by_key else name.partition(":")[0], splits
    )  # a key may be no valid name
    return {
        "name": name,
        "store": store,
        "dataset": manifest.source.dataset,
        "reader": f"{manifest.source.reader} version {manifest.source.reader_version}",
        "licence": licence,
        "citation": citation,
        "citation_of_the_preprocessing": _text(how.get("citation")),
        "axes": list(manifest.layout.axes),
        "sites": list(manifest.layout.sites),
        "classes": list(manifest.layout.classes),
        "transform": [operation.to_mapping() for operation in manifest.transform.operations],
        "transform_key": first.address.transform_key,
        "built": {split: dict(features.manifest.provenance) for split, features in splits.items()},
        "splits": [
            {
                "split": split,
                "source_key": features.address.source_key,
                "digest": features.digest,
                "samples": len(features) - len(features.manifest.skipped),
                "skipped": len(features.manifest.skipped),
                "non_zeros": features.manifest.nnz,
                "most_bins": features.manifest.n_bins,
                "files": _files(features),
            }
            for split, features in splits.items()
        ],
        "recipe": recipe,
        "command": None
        if recipe is None
        else f"spikestore preprocess recipe.toml --data FOLDER --store {shlex.quote(store)}",
    }


def is_key(name: str, transform_key: str) -> bool:
    """Return whether `name`, which selected a set, is the beginning of the set's key, and not a name in the store."""
    beginning = name.partition("/")[0]
    return len(beginning) >= 4 and transform_key.startswith(beginning)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _files(features: FeatureSet) -> dict[str, Any]:
    files = features.manifest.source.files
    return {
        "count": len(files),
        "bytes": sum(file.size for file in files),
        "listed": [file.to_mapping() for file in files[:MOST_FILES]],
    }


def recipe_text(name: str, splits: Mapping[str, FeatureSet]) -> str | None:
    """Return a recipe (TOML) that gives the same keys from the same files.

    The result is None for objects in Python and imported caches, because no recipe describes them. It is None for folders too,
    because a set does not store the pattern or the table that gave its labels.
    """
    manifest = next(iter(splits.values())).manifest
    source, transform = manifest.source, manifest.transform
    if source.items is not None or source.cache is not None or source.folder is not None:
        return None
    options = source.model_dump(
        mode="json", include={"sort", "on_error", "limit", "columns"}, exclude_defaults=True
    )
    source_table = {
        "dataset": source.dataset,
        "splits": [features.manifest.source.split for features in splits.values()],
    }
    source_table |= options
    bounds = transform.model_dump(mode="json", include={"max_bins"}, exclude_defaults=True)
    lines = [*_toml({"name": name, **bounds}), "", "[source]", *_toml(source_table)]
    for operation in transform.operations:
        fields = operation.model_dump(mode="json", exclude_defaults=True)
        lines += ["", "[[transform]]", *_toml({"op": operation.op, **fields})]
    return "\n".join(lines) + "\n"


def _toml(table: Mapping[str, Any]) -> list[str]:
    """Return a line of TOML for each value. Values are written as JSON, because numbers, strings, booleans and lists look the same in JSON and TOML."""
    return [f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in table.items()]
