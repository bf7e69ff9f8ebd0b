"""Random sequences of operations on two stores, compared with a simple model of the stores.

The model has the committed sets of each store, and the sets of each name. After every step both stores must show exactly
these, and every named set must have its original rows.
"""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from obstore.store import MemoryStore
from tests.store.s3_server import BUCKET, options
from tests.store.small_sets import SmallSet, same, small_set
from tests.store.upkeep.test_repair import truth
from tests.store.watched_storage import Crash, Crashing, WatchedStorage

from spikestore.store import Store, verify
from spikestore.store.storage import FolderStorage, Storage
from spikestore.store.storage.objects import ObjectStorage
from spikestore.store.upkeep.garbage import collect, find_garbage
from spikestore.store.upkeep.repair import repair
from spikestore.store_schemas import Address
from spikestore.store_schemas.errors import SpikestoreError, UnknownNameError, UsageError

SETS: dict[str, SmallSet] = {
    "train": small_set(65, silent=range(64, 65), skipped=(3,)),
    "valid": small_set(20, split="valid", seed=1, skipped=()),
    "other": small_set(20, time_window=5000.0, seed=2, skipped=()),
}
SPLIT = {"train": "train", "valid": "valid", "other": "train"}
BY_ADDRESS = {small.address: key for key, small in SETS.items()}
NAMES = ("a", "b")
LATER = datetime.now(UTC) + timedelta(days=8)

sets = st.sampled_from(sorted(SETS))
names = st.sampled_from(NAMES)
sides = st.sampled_from(["here", "there"])


class Lifetimes(RuleBasedStateMachine):
    """State machine of hypothesis; subclasses choose the kind of the stores."""

    kind: ClassVar[str] = "memory"
    endpoint: ClassVar[str] = ""
    count: ClassVar[int] = 0

    @initialize()
    def begin(self) -> None:
        """Make two empty stores, and clear the model."""
        self.folder = tempfile.TemporaryDirectory()
        self.stores = {side: Store(self.new_storage(side)) for side in ("here", "there")}
        self.committed: dict[str, set[str]] = {"here": set(), "there": set()}
        self.names: dict[str, dict[str, dict[str, str]]] = {"here": {}, "there": {}}

    def new_storage(self, side: str) -> Storage:
        """Return an empty storage."""
        Lifetimes.count += 1
        if self.kind == "folder":
            return FolderStorage(Path(self.folder.name) / side)
        if self.kind == "s3":
            return ObjectStorage.from_url(f"s3://{BUCKET}/life-{self.count}", **options(self.endpoint))
        return ObjectStorage(MemoryStore(), f"memory://{side}")

    def teardown(self) -> None:
        """Remove what lies on the disk."""
        if hasattr(self, "folder"):
            self.folder.cleanup()

    # ------------------------------------------------------------ what people do

    @rule(side=sides, key=sets, name=names, wish=st.sampled_from([64, 128]))
    def build(self, side: str, key: str, name: str, wish: int) -> None:
        """Build a set, or resume a build, and name it, as preprocess does."""
        store, small = self.stores[side], SETS[key]
        found = store.find(small.address) or small.build(store.storage, wish)
        self.committed[side].add(key)
        store.point(name, {SPLIT[key]: found}, move=True)
        self.point(side, name, {SPLIT[key]: key})

    @rule(side=sides, key=sets, at=st.integers(1, 40), restart=st.booleans())
    def crash(self, side: str, key: str, at: int, restart: bool) -> None:
        """Crash at some operation of a build."""
        store, small = self.stores[side], SETS[key]
        if key in self.committed[side]:
            return
        try:
            small.build(WatchedStorage(store.storage, Crashing(at)), restart=restart)
        except Crash:
            if store.find(small.address) is None:
                return
        self.committed[side].add(key)

    @rule(side=sides, name=names, crash_at=st.none() | st.integers(1, 30))
    def push(self, side: str, name: str, crash_at: int | None) -> None:
        """Push a name to the other store, or pull it there; a crash leaves whole sets, and no name."""
        source, to = self.stores[side], "there" if side == "here" else "here"
        meant = self.names[side].get(name)
        if meant is None:
            with pytest.raises(UnknownNameError):
                source.push(name, self.stores[to])
            return
        if crash_at is not None:
            try:
                source.push(
                    name, Store(WatchedStorage(self.stores[to].storage, Crashing(crash_at))), move=True
                )
            except Crash:
                there = {key for key in meant.values() if self.stores[to].find(SETS[key].address) is not None}
                self.committed[to] |= there
                pushed = self.stores[to].ref(name)
                if pushed is None or len(there) < len(set(meant.values())):
                    return
                found = {
                    s: BY_ADDRESS[Address(p.transform_key, p.source_key)] for s, p in pushed.splits.items()
                }
                if found != self.pointed(to, name, meant):
                    return
        elif side == "here":
            source.push(name, self.stores[to], move=True)
        else:
            self.stores[to].pull(name, source, move=True)
        self.committed[to] |= {*meant.values()}
        self.point(to, name, meant)

    @rule(side=sides, name=names, new=names, force=st.booleans())
    def tag(self, side: str, name: str, new: str, force: bool) -> None:
        """Add a second name."""
        known = self.names[side]
        try:
            self.stores[side].tag(name, new, move=force)
        except UnknownNameError:
            assert name not in known
        except UsageError:
            assert not force
            assert known[new] not in ({}, known[name])
        else:
            assert force or known.get(new, known[name]) == known[name]
            known[new] = dict(known[name])

    @rule(side=sides, name=names, split=st.sampled_from(["", "train", "valid"]))
    def rm(self, side: str, name: str, split: str) -> None:
        """Remove a name, or a split of it."""
        known = self.names[side].get(name, {})
        try:
            lost = self.stores[side].forget(f"{name}:{split}" if split else name)
        except UnknownNameError:
            assert not known or split not in {"", *known}
        else:
            assert {*lost} == ({split} if split else {*known})
            for one in lost:
                del known[one]
            if not known:
                del self.names[side][name]

    @rule(side=sides, unreferenced=st.booleans(), crash_at=st.none() | st.integers(1, 30))
    def gc(self, side: str, unreferenced: bool, crash_at: int | None) -> None:
        """Run gc a week later, perhaps interrupted."""
        storage = self.stores[side].storage
        named = {key for meant in self.names[side].values() for key in meant.values()}
        garbage = find_garbage(storage, unreferenced=unreferenced, now=LATER).garbage
        if crash_at is None:
            collect(storage, garbage, now=LATER)
            if unreferenced:
                self.committed[side] &= named
            builds = {SETS[key].address for key in self.committed[side]}
            assert {one for one in self.stores[side].addresses() if one not in builds} == set()
            return
        try:
            collect(WatchedStorage(storage, Crashing(crash_at)), garbage, now=LATER)
        except Crash:
            left = {BY_ADDRESS[one.address] for one in self.stores[side].feature_sets()}
            assert named <= left <= self.committed[side]
            self.committed[side] = left
        else:
            self.committed[side] &= named if unreferenced else self.committed[side]

    @precondition(lambda self: any(self.committed.values()))
    @rule(data=st.data(), way=st.sampled_from(["flip", "delete"]))
    def damage_and_repair(self, data: st.DataObject, way: str) -> None:
        """Delete or change an object: verify names it, and repair restores it, from the other store or the recordings."""
        side, key = data.draw(
            st.sampled_from([(s, k) for s in self.committed for k in sorted(self.committed[s])])
        )
        storage, small = self.stores[side].storage, SETS[key]
        features = self.stores[side].find(small.address)
        assert features is not None
        build = small.address.build(features.manifest.plan_id)
        path = data.draw(st.sampled_from([one.path for one in storage.list(build)]))
        whole = storage.get(path)
        storage.delete(path)
        if way == "flip":
            storage.put_if_absent(path, whole[:-1] + bytes([whole[-1] ^ 1]))
        assert path in {one.path for one in verify(features)}
        other = self.stores["there" if side == "here" else "here"].storage
        assert repair(features, upstream=other, rows=truth(small)).left == ()
        assert storage.get(path) == whole

    # ------------------------------------------------------------ what must hold

    def pointed(self, side: str, name: str, meant: dict[str, str]) -> dict[str, str]:
        """Return the sets of a name after these sets were added; sets of another transform are dropped."""
        transform = {SETS[key].address.transform_key for key in meant.values()}
        old = self.names[side].get(name, {})
        kept = {split: key for split, key in old.items() if {SETS[key].address.transform_key} == transform}
        return {**kept, **meant}

    def point(self, side: str, name: str, meant: dict[str, str]) -> None:
        """Update a name in the model."""
        self.names[side][name] = self.pointed(side, name, meant)

    @invariant()
    def stores_show_what_the_model_knows(self) -> None:
        """Compare sets, names and content with those of the model."""
        for side, store in getattr(self, "stores", {}).items():
            assert {BY_ADDRESS[one.address] for one in store.feature_sets()} == self.committed[side]
            assert store.names() == sorted(self.names[side])
            for name, meant in self.names[side].items():
                found = store.splits(name)
                assert {split: BY_ADDRESS[one.address] for split, one in found.items()} == meant

    @rule(side=sides, key=sets)
    def read(self, side: str, key: str) -> None:
        """Read a set, whole and verified."""
        features = self.stores[side].find(SETS[key].address)
        assert (features is not None) is (key in self.committed[side])
        if features is not None:
            assert same(features.read(), SETS[key].truth)
            assert verify(features, depth="deep") == []
        else:
            with pytest.raises(SpikestoreError):
                self.stores[side]["/".join(SETS[key].address)]


def _settings(share: int, steps: int) -> settings:
    # A share of the profile's examples: each of them is a whole life.
    return settings(
        max_examples=max(2, settings().max_examples // share),
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=[*HealthCheck],
    )


class InFolders(Lifetimes):
    """Both stores in folders."""

    kind = "folder"


class InBuckets(Lifetimes):
    """Both stores behind obstore."""


TestInFolders: Any = InFolders.TestCase
TestInFolders.settings = _settings(20, 12)
TestInBuckets: Any = InBuckets.TestCase
TestInBuckets.settings = _settings(10, 15)


@pytest.mark.s3
@pytest.mark.slow
def test_on_s3(s3_endpoint: str) -> None:
    """The same operations on a real S3 server."""
    from hypothesis.stateful import run_state_machine_as_test

    machine = type("OnS3", (Lifetimes,), {"kind": "s3", "endpoint": s3_endpoint})
    run_state_machine_as_test(machine, settings=_settings(50, 12))
