"""Fragments whose rows arrive in parts: the result does not depend on the parts, and equals that of whole columns."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.store.small_sets import SmallSet, memory_storage, small_set

from spikestore.store import Build
from spikestore.store.columns import fragment_encoder
from spikestore.store.columns.digest import block_checks, block_digests, check_seed
from spikestore.store.columns.fragment_encoder import EncodedFragment, FragmentEncoder
from spikestore.store.columns.shard_codec import packed_objects
from spikestore.store_schemas.documents.record import SkippedRow
from spikestore.store_schemas.errors import UsageError

SMALL = small_set(300, silent=range(0))


def encoded(small: SmallSet, fragment: int, cuts: list[int]) -> EncodedFragment:
    """Return a fragment of 192 rows whose rows are added in parts, which end at these rows of the fragment."""
    plan = small.plan(192)
    rows = plan.rows(fragment)
    bounds = [0, *sorted({cut for cut in cuts if cut < len(rows)}), len(rows)]
    encoder = FragmentEncoder(plan, fragment)
    for begin, end in itertools.pairwise(bounds):
        encoder.add(small.truth.rows(rows.start + begin, rows.start + end))
    return encoder.finish()


@given(cuts=st.lists(st.integers(0, 192), max_size=8), fragment=st.integers(0, 1))
def test_parts_do_not_show(cuts: list[int], fragment: int) -> None:
    """Parts may end anywhere: within blocks, at blocks, after several blocks; the last block of a set may be short."""
    plan = SMALL.plan(192)
    rows = plan.rows(fragment)
    truth, result = SMALL.truth.rows(rows.start, rows.stop), encoded(SMALL, fragment, cuts)
    seed = check_seed(*SMALL.address)
    assert np.array_equal(result.facts.check, block_checks(truth, plan.layout, seed, 3 * fragment))
    assert result.facts.blocks == (*block_digests(truth, plan.layout),)
    assert result.facts[2:] == (len(truth.index), truth.index.max(), truth.value.max())
    packed = packed_objects(plan, plan.zarr)
    assert packed is not None
    assert result.encoded == {name: packed[name].encode(getattr(truth, name)) for name in ("index", "value")}
    sites = truth.index % plan.layout.site_count
    assert result.sites == (sites.min(), sites.max())
    for name, column in result.samples.in_order(plan.layout):
        expected = truth.rows(0, 0) if name in ("index", "value") else truth
        assert np.array_equal(column, dict(expected.in_order(plan.layout))[name])
        assert column.dtype == plan.layout.dtype(name)


@pytest.mark.parametrize("cuts", [[], [10], [64, 100]])
def test_rows_without_values(cuts: list[int]) -> None:
    """The objects of index and value do not exist."""
    result = encoded(small_set(70, silent=range(70), skipped=()), 0, cuts)
    assert (result.encoded, result.sites) == ({}, None)
    assert result.facts[2:] == (0, 0, 0.0)


def test_codecs_of_other_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    """If only Zarr can encode the columns, they are kept whole; the stored set is the same."""
    digest = SMALL.build(memory_storage(), 192).digest
    monkeypatch.setattr(fragment_encoder, "packed_objects", lambda *_: None)
    result = encoded(SMALL, 1, [20, 70])
    assert result.encoded is None
    assert np.array_equal(result.samples.index, SMALL.truth.rows(192, 300).index)
    assert SMALL.build(memory_storage(), 192).digest == digest


def test_too_many_values_are_refused_before_they_are_encoded() -> None:
    """The message is that of `Build.put_fragment`, whichever part has the value that is too much."""
    plan = SMALL.plan(192)
    part = SMALL.truth.rows(0, 64)
    encoder = FragmentEncoder(plan, 0)
    for _ in range(plan.shard_values // len(part.index)):
        encoder.add(part)
    with pytest.raises(
        UsageError, match=r"fragment 0 has .* non-zeros, more than the [\d,]+ that the plan allows"
    ):
        encoder.add(part)


def test_each_part_is_checked() -> None:
    """A value of 0 in a later part is refused as in whole columns."""
    encoder = FragmentEncoder(SMALL.plan(192), 0)
    encoder.add(SMALL.truth.rows(0, 10))
    part = SMALL.truth.rows(10, 64)
    value = part.value.copy()
    value[5] = 0
    with pytest.raises(UsageError, match="must not contain 0"):
        encoder.add(replace(part, value=value))


def test_a_build_takes_encoded_fragments() -> None:
    """The set is that of whole columns."""
    storage, plan = memory_storage(), SMALL.plan(192)
    build = Build.join_or_start(storage, SMALL.address, lambda: plan)
    for fragment in build.unfinished():
        skipped = [row for row in SMALL.skipped if row in plan.rows(fragment)]
        content = encoded(SMALL, fragment, [33])
        build.put_encoded_fragment(
            fragment, content, skipped=[SkippedRow(row=row, reason="unsorted times") for row in skipped]
        )
    features = build.commit(SMALL.transform, SMALL.source, {"built_by": "a test"})
    assert features.digest == SMALL.build(memory_storage(), 192).digest
