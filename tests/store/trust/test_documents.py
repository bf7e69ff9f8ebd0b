"""A record of an unfinished build, and the plan of a committed one, are compared with the other documents."""

from __future__ import annotations

from typing import Any

import pytest
from obstore.store import MemoryStore
from tests.store.small_sets import small_set

from spikestore.store import Build
from spikestore.store.storage.objects import ObjectStorage
from spikestore.store.trust.documents import committed_plan, record_of_build
from spikestore.store_schemas.documents.record import Record
from spikestore.store_schemas.errors import DamagedError

SMALL = small_set()


@pytest.fixture
def storage() -> ObjectStorage:
    """Return an empty store."""
    return ObjectStorage(MemoryStore(), "memory://documents")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"samples": 63}, "contradicts the plan: it has 63 rows, but the fragment has 64"),
        (
            {"nnz": 2**40},
            r"contradicts the plan: it has 1,099,511,627,776 non-zeros, but at most [0-9,]+ are possible",
        ),
    ],
)
def test_a_record_that_contradicts_its_plan(
    storage: ObjectStorage, change: dict[str, Any], message: str
) -> None:
    """The error states both numbers."""
    build = Build.join_or_start(storage, SMALL.address, SMALL.plan)
    SMALL.put(build, 0)
    path = SMALL.address.record(build.plan.hash[:12], 0)
    record = Record.from_bytes(storage.get(path), path=path)
    assert record_of_build(SMALL.address, build.plan, build.plan.hash, 0, record.to_bytes()) == record
    data = record.model_copy(update=change).to_bytes()
    with pytest.raises(DamagedError, match=f"{path} {message}"):
        record_of_build(SMALL.address, build.plan, build.plan.hash, 0, data)


def test_a_manifest_that_contradicts_its_plan(storage: ObjectStorage) -> None:
    """The error names the plan."""
    features = SMALL.build(storage)
    assert committed_plan(features.address, features.manifest, features.root).hash == features.manifest.plan
    other = features.manifest.model_copy(update={"plan": "a" * 64})
    with pytest.raises(
        DamagedError,
        match="refers to the plan aaaaaaaaaaaa, but the other fields of this manifest contradict this plan",
    ):
        committed_plan(features.address, other, features.root)
