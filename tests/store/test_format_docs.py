"""docs/format.md agrees with the code: its examples are computed, and its tables list every field."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import numpy as np
import pytest

from spikestore.store.columns.digest import block_checks, block_digests, check_seed, set_digest
from spikestore.store.columns.samples import SampleColumns
from spikestore.store_schemas.documents.manifest import Manifest
from spikestore.store_schemas.documents.plan import Plan
from spikestore.store_schemas.documents.record import EventCounts, ObjectEntry, Record, SkippedRow
from spikestore.store_schemas.documents.ref import Pin, Ref
from spikestore.store_schemas.layout import EXTRAS, FILL, Layout, layout_of
from spikestore.store_schemas.specs.canonical import canonical_json, seal
from spikestore.store_schemas.specs.files import SourceFile
from spikestore.store_schemas.specs.model import Spec
from spikestore.store_schemas.specs.operations import CropTime, Downsample, ToFrame
from spikestore.store_schemas.specs.source import Source
from spikestore.store_schemas.specs.transform import Transform

PAGE = (Path(__file__).parents[2] / "docs" / "format.md").read_text(encoding="utf-8")
GOLDEN = Path(__file__).parents[1] / "golden" / "store_65536"
SEED = Transform(
    operations=(
        Downsample(spatial_factor=100 / 700),  # type: ignore[arg-type]
        CropTime(max=1e6),
        ToFrame(sensor_size=(100, 1, 1), time_window=4000.0, include_incomplete=True),
    )
)
SOURCE = Source(
    reader="cochlea-hdf5",
    reader_version=1,
    dataset="SSC",
    split="train",
    files=(SourceFile(name="ssc_train.h5", size=123, sha256="ab" * 32),),
)


def in_page() -> dict[str, str]:
    """Return the code block after each mark."""
    found = re.findall(r"<!-- checked: (.*?) -->\n```\w+\n(.*?)\n```", PAGE, re.DOTALL)
    assert len(dict(found)) == len(found) == PAGE.count("<!-- checked:")
    return dict(found)


def in_code() -> dict[str, str]:
    """Return the results of the code for the same examples."""
    transform = Transform(operations=(ToFrame(sensor_size=(3, 1, 1), time_window=1000.0),))
    layout = layout_of(transform, has_y=False, classes=["left", "right"], extras=["n_events"])
    columns = SampleColumns(
        index=np.array([0, 4, 2]),
        value=np.array([1, 2, 1]),
        nnz=np.array([2, 0, 1]),
        n_bins=np.array([2, 0, 1]),
        label=np.array([0, -1, 1]),
        extras={"n_events": np.array([3, 0, 1])},
    ).as_stored(layout)
    (block,) = block_digests(columns, layout)
    head = canonical_json({**layout.to_mapping(), "format": 1, "samples": 3, "skipped": [1]})
    seed = check_seed(transform.key, SOURCE.key)
    (check,) = block_checks(columns, layout, seed, 0)
    (index,) = GOLDEN.rglob("index/zarr.json")
    return {
        "sealed": seal({"format": 1, "name": "demo"}).decode(),
        "transform document": canonical_json(SEED.key_document()).decode(),
        "transform key": SEED.key,
        "source document": canonical_json(SOURCE.key_document()).decode(),
        "source key": SOURCE.key,
        "index document": index.read_text(encoding="utf-8"),
        "head": head.decode(),
        "head hash": hashlib.sha256(head).hexdigest(),
        "canonical bytes": "\n".join(column.tobytes().hex(" ", 4) for _, column in columns.in_order(layout)),
        "block hash": block,
        "digest": set_digest(layout, 3, [1], [block]),
        "check": f"{transform.key}\n{seed:016x}\n{check:016x}",
    }


def test_every_marked_example_equals_the_result_of_the_code() -> None:
    """JSON, keys, canonical bytes, digest and check are compared."""
    assert in_page() == in_code()


@pytest.mark.parametrize(
    ("whole", "hashed"), [("transform document", "transform key"), ("source document", "source key")]
)
def test_the_keys_of_the_page_follow_from_the_page(whole: str, hashed: str) -> None:
    """The keys are computed by hand, without code of spikestore."""
    assert hashlib.sha256(in_page()[whole].encode()).hexdigest() == in_page()[hashed]


def test_the_digest_of_the_page_follows_from_the_page() -> None:
    """The digest is computed from the hex that is printed there."""
    page = in_page()
    head = hashlib.sha256(page["head"].encode())
    block = hashlib.sha256(bytes.fromhex(page["canonical bytes"]))
    assert (head.hexdigest(), block.hexdigest()) == (page["head hash"], page["block hash"])
    assert hashlib.sha256(head.digest() + block.digest()).hexdigest() == page["digest"]


def section(title: str) -> str:
    """Return the text below a heading, up to the next one."""
    found = re.search(rf"^#+ {title}\n(.*?)(?=^#+ )", PAGE, re.DOTALL | re.MULTILINE)
    assert found is not None, title
    return found[1]


def members(title: str) -> list[str]:
    """Return the names in the first column of the table in a section."""
    return re.findall(r"^\| `(\w+)` \|", section(title), re.MULTILINE)


@pytest.mark.parametrize(
    ("title", "model"),
    [("Manifest", Manifest), ("Record", Record), ("Plan", Plan), ("Ref", Ref), ("Layout", Layout)],
)
def test_tables_list_every_member_of_the_documents(title: str, model: type[Spec]) -> None:
    """No member is missing, and none is listed that does not exist."""
    assert members(title) == list(model.model_fields)


def test_tables_list_every_parameter() -> None:
    """Parameters of transform, source and operations; the text names the members of nested objects."""
    transform = section("Transform")
    assert members("Source") == list(Source.model_fields)
    assert members("Transform")[:2] == list(Transform.model_fields)
    for operation in (Downsample, CropTime, ToFrame):
        for name in operation.model_fields:
            assert re.search(rf"^\|[^|]*\| `{name}` \|", transform, re.MULTILINE), name
    nested: list[tuple[str, type[Spec]]] = [
        ("Source", SourceFile),
        ("Record", ObjectEntry),
        ("Manifest", SkippedRow),
        ("Manifest", EventCounts),
        ("Ref", Pin),
    ]
    for title, model in nested:
        assert all(f"`{name}`" in section(title) for name in model.model_fields), model


def test_tables_list_every_column() -> None:
    """The tables have the fill values of the code."""
    names = ["index", "value", "nnz", "n_bins", "label", *EXTRAS, "start", "check"]
    assert members("Columns") == names
    shown = {"uint32": "2^32 - 1", "uint64": "2^53 - 1", "int32": "-2^31", "float32": "NaN"}
    worth = {"2^32 - 1": 2**32 - 1, "2^53 - 1": 2**53 - 1, "-2^31": -(2**31), "NaN": "NaN"}
    assert {dtype: worth[text] for dtype, text in shown.items()} == FILL
    for row in re.findall(r"^\| `\w+` \|.*$", section("Columns"), re.MULTILINE):
        _, _, _, dtypes, fills, *_ = row.split("|")
        assert [shown[dtype] for dtype in dtypes.strip().split(" or ")] == fills.strip().replace(
            "\N{MINUS SIGN}", "-"
        ).split(", "), row
