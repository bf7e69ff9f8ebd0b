"""Digest and check equal those of a simple implementation with struct.pack, which follows docs/format.md step by step."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.hypothesis_profiles import examples

from spikestore.store.columns.digest import block_checks, block_digests, check_seed, set_digest
from spikestore.store.columns.samples import SampleColumns
from spikestore.store.testing.strategies import columns as column_sets
from spikestore.store_schemas.layout import EXTRAS, Layout, layout_of
from spikestore.store_schemas.specs.canonical import canonical_json
from spikestore.store_schemas.specs.transform import Transform

Made = tuple[Transform, Layout, SampleColumns, list[int]]
CODES = {"uint32": "<I", "uint64": "<Q", "int32": "<i", "float32": "<f"}
ORDER = ("nnz", "n_bins", "index", "value", "label", "speaker", "n_events", "n_cropped", "n_dropped", "user")


def naive_block(columns: SampleColumns, layout: Layout, block: int) -> bytes:
    """Return the canonical bytes of a block, number by number."""
    rows = range(64 * block, min(64 * block + 64, len(columns.nnz)))
    dtypes = dict(layout.columns)
    data = b""
    for name in ORDER:
        if name not in dtypes:
            continue
        for row in rows:
            if name in {"index", "value"}:
                first = sum(int(count) for count in columns.nnz[:row])
                numbers = getattr(columns, name)[first : first + int(columns.nnz[row])]
            else:
                numbers = [(columns.extras[name] if name in EXTRAS else getattr(columns, name))[row]]
            data += b"".join(struct.pack(CODES[dtypes[name]], number) for number in numbers)
    return data


def naive_digest(columns: SampleColumns, layout: Layout, skipped: list[int]) -> str:
    """Compute the digest from the description in docs/format.md."""
    head = {
        "axes": list(layout.axes),
        "classes": list(layout.classes),
        "columns": [list(column) for column in layout.columns],
        "format": 1,
        "samples": len(columns.nnz),
        "sites": list(layout.sites),
        "skipped": skipped,
    }
    hashes = hashlib.sha256(canonical_json(head)).digest()
    for block in range(-(-len(columns.nnz) // 64)):
        hashes += hashlib.sha256(naive_block(columns, layout, block)).digest()
    return hashlib.sha256(hashes).hexdigest()


@settings(max_examples=examples(20))
@given(
    made=column_sets(max_samples=140, max_bins=3), seed=st.integers(0, 2**64 - 1), first=st.integers(0, 2**40)
)
def test_digest_and_check_follow_the_format(made: Made, seed: int, first: int) -> None:
    """Every block's SHA-256 and XXH3-64, and the digest of the whole."""
    _, layout, columns, skipped = made
    blocks = [naive_block(columns, layout, block) for block in range(-(-len(columns) // 64))]
    assert block_digests(columns, layout) == [hashlib.sha256(block).hexdigest() for block in blocks]
    checks = block_checks(columns, layout, seed, first)
    assert checks.dtype == np.uint64
    assert checks.tolist() == [
        xxhash.xxh3_64_intdigest(block, seed=seed ^ (first + number)) for number, block in enumerate(blocks)
    ]
    digest = set_digest(layout, len(columns), skipped, block_digests(columns, layout))
    assert digest == naive_digest(columns, layout, skipped)


@settings(max_examples=examples(20))
@given(made=column_sets(max_samples=200), fragment=st.sampled_from([1, 2, 3]))
def test_cutting_into_fragments_changes_no_digest(made: Made, fragment: int) -> None:
    """Blocks are counted from the start of the set, so fragments of whole blocks have the same hashes."""
    _, layout, columns, _ = made
    runs = [
        columns.rows(at, min(at + 64 * fragment, len(columns)))
        for at in range(0, len(columns), 64 * fragment)
    ]
    assert [one for run in runs for one in block_digests(run, layout)] == block_digests(columns, layout)
    checks = [block_checks(run, layout, 7, number * fragment) for number, run in enumerate(runs)]
    assert np.concatenate(checks).tolist() == block_checks(columns, layout, 7, 0).tolist()


def test_hashing_needs_no_particular_memory_layout() -> None:
    """Views, strides and other byte orders give the same hashes."""
    columns, layout = example()
    strange = replace(
        columns, index=np.repeat(columns.index, 2)[::2].astype(">u4"), label=columns.label.astype("int64")
    )
    assert block_digests(strange, layout) == block_digests(columns, layout)


@pytest.mark.parametrize("name", ["nnz", "n_bins", "index", "value", "label", "n_events", "n_dropped"])
def test_every_column_counts(name: str) -> None:
    """A changed number in any column changes the digest, and the check of its block only."""
    columns, layout = example()
    array = (columns.extras[name] if name in EXTRAS else getattr(columns, name)).copy()
    if name == "nnz":  # two rows of one block, so that the non-zeros of the block stay the same
        array[64] += 1
        array[65] -= 1
    else:
        array[-1] += 1
    changed: Any = {"extras": {**columns.extras, name: array}} if name in EXTRAS else {name: array}
    other = replace(columns, **changed)
    assert [
        a == b for a, b in zip(block_digests(columns, layout), block_digests(other, layout), strict=True)
    ] == [
        True,
        False,
    ]
    assert (block_checks(columns, layout, 1, 0) == block_checks(other, layout, 1, 0)).tolist() == [
        True,
        False,
    ]


def test_a_block_belongs_to_its_place_and_its_set() -> None:
    """The same rows elsewhere in the set, or under other keys, have another check."""
    columns, layout = example()
    keys = ("a" * 64, "b" * 64)
    seeds = [check_seed(*keys), check_seed(*keys[::-1]), check_seed("a" * 63 + "c", keys[1])]
    assert len(set(seeds)) == 3
    checks = [block_checks(columns, layout, seed, first)[0] for seed in seeds for first in (0, 1, 2**32)]
    assert len(set(checks)) == 9


def test_the_seed_is_the_beginning_of_a_hash() -> None:
    """The seed is the first 8 bytes, big-endian, of the SHA-256 of both keys as text."""
    assert check_seed("a" * 64, "b" * 64) == int(hashlib.sha256(b"a" * 64 + b"b" * 64).hexdigest()[:16], 16)


def test_the_head_counts() -> None:
    """Classes, axes, sites, columns, samples and skipped rows are part of the digest; keys and plans are not."""
    columns, layout = example()
    blocks = block_digests(columns, layout)
    heads = [
        (layout, 70, [1]),
        (layout, 70, []),
        (layout, 71, [1]),
        (layout.model_copy(update={"classes": ("a", "c")}), 70, [1]),
        (layout.model_copy(update={"sites": (4, 3, 2)}), 70, [1]),
    ]
    digests = {set_digest(one, samples, skipped, blocks) for one, samples, skipped in heads}
    assert len(digests) == len(heads)
    assert set_digest(layout, 70, [1], blocks[:1]) not in digests


def example() -> tuple[SampleColumns, Layout]:
    from spikestore.store_schemas.specs.operations import ToFrame

    transform = Transform(operations=(ToFrame(sensor_size=(4, 3, 2), time_window=1.0),))
    layout = layout_of(transform, has_y=True, classes=["a", "b"], extras=["n_events", "n_dropped"])
    rng = np.random.default_rng(0)
    nnz = rng.integers(1, 20, 70)
    columns = SampleColumns(
        index=np.concatenate([np.sort(rng.choice(23, count, replace=False)) for count in nnz]),
        value=rng.integers(1, 9, nnz.sum()),
        nnz=nnz,
        n_bins=np.full(70, 1),
        label=rng.integers(0, 2, 70),
        extras={"n_events": rng.integers(0, 99, 70), "n_dropped": rng.integers(0, 9, 70)},
    )
    return columns.as_stored(layout), layout
