"""All content of a store passes through the trust boundary before other code uses it."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

from spikestore.store_schemas.specs.model import Document

ROOT = Path(__file__).parents[3]
DOCUMENTS = {"Manifest", "Partition", "Plan", "Record", "Ref"}
# Modules that decode rows: the boundary itself, the reader of a set, which returns the rows that the boundary accepts,
# and a builder, which compares stored rows with its own.
DECODES = {
    "columns/reader.py",
    "trust/fragments.py",
    "trust/scanned_rows.py",
    "feature_set.py",
    "build.py",
}


@cache
def calls() -> set[tuple[str, str, str]]:
    """Return (file, object, function) of each call in the product, such as ("store.py", "Ref", "from_bytes")."""
    found = set()
    for portion in ("store", "pipeline", "train"):
        root = ROOT / portion / "spikestore" / portion
        for path in sorted(root.rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if not isinstance(node, ast.Call):
                    continue
                name, called = path.relative_to(root).as_posix(), node.func
                if isinstance(called, ast.Name):
                    found.add((name, "", called.id))
                elif isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name):
                    found.add((name, called.value.id, called.attr))
    return found


def test_documents_are_parsed_in_one_module() -> None:
    documents = {
        cls.__name__ for cls in Document.__subclasses__() if cls.__module__.startswith("spikestore.")
    }
    assert documents == DOCUMENTS
    parse = {"from_bytes", "from_store"}
    places = {
        file
        for file, what, called in calls()
        if (what in DOCUMENTS and called in parse) or called == "checked_root"
    }
    assert places == {"trust/documents.py"}


def test_rows_are_decoded_in_few_places() -> None:
    found = {
        file for file, _, called in calls() if called in {"FragmentDecoder", "column_reader", "ZarrReader"}
    }
    assert found == DECODES
