"""Servers that ignore If-None-Match, and servers that do not answer."""

from __future__ import annotations

import pickle
import socket
import time
from collections.abc import Callable

import pytest
from tests.store.s3_server import HOST
from tests.store.small_sets import same, small_set
from tests.store.tiny_s3 import tiny_s3

from spikestore.store import Store
from spikestore.store.storage.objects import PROBE, ObjectStorage
from spikestore.store_schemas.errors import StoreError

SMALL = small_set(70, extras=(), silent=range(64, 70), skipped=(3,))


def test_a_server_that_ignores_it() -> None:
    """Such a server is rejected with the reason before anything of a build is written; reading works."""
    with tiny_s3(honours=False) as server:
        storage = ObjectStorage.from_url("s3://b/x", **server.options())
        uses: list[Callable[[], object]] = [
            lambda: SMALL.build(storage),
            lambda: storage.put_if_absent("a", b""),
        ]
        for use in uses:
            with pytest.raises(
                StoreError, match=r"the server of s3://b/x ignores If-None-Match: .*read-only on this server"
            ) as error:
                use()
            assert "use another server or a folder" in str(error.value)
        assert [*server.objects] == [f"b/x/{PROBE}"]
        server.honours = True
        SMALL.build(storage)
        server.honours = False
        reader = ObjectStorage.from_url("s3://b/x", **server.options())
        assert same(next(iter(Store(reader).feature_sets())).read(), SMALL.truth)


@pytest.mark.parametrize("content", [b"", b"spikestore tries", b"of another version\n"])
def test_the_content_of_the_probe_has_no_effect(content: bytes) -> None:
    """The probe may be cut off, flipped or of another version: only its existence counts."""
    with tiny_s3(honours=True) as server:
        server.objects[f"b/x/{PROBE}"] = content
        storage = ObjectStorage.from_url("s3://b/x", **server.options())
        assert SMALL.build(storage).digest
        assert server.objects[f"b/x/{PROBE}"] == content
        server.honours = False
        with pytest.raises(StoreError, match="ignores If-None-Match"):
            ObjectStorage.from_url("s3://b/x", **server.options()).put_if_absent("a", b"")


def test_each_remote_is_probed_once() -> None:
    """A new store takes two requests, each later process one, and a storage that was probed none, also after pickling."""
    with tiny_s3(honours=True) as server:
        storage = ObjectStorage.from_url("s3://b/x", **server.options())
        storage.folders("refs")
        assert server.probes() == 0
        SMALL.build(storage)
        assert server.probes() == 2
        for number in range(3):
            storage.put_if_absent(f"a/{number}", b"")
        assert server.probes() == 0
        pickle.loads(pickle.dumps(storage)).put_if_absent("a/worker", b"")  # noqa: S301 - our own
        assert server.probes() == 0
        ObjectStorage.from_url("s3://b/x", **server.options()).put_if_absent("a/process", b"")
        assert server.probes() == 1


def test_a_closed_port() -> None:
    """An address without a server is an error within seconds that names the store and the address."""
    with socket.socket() as one:
        one.bind((HOST, 0))
        url = f"http://{HOST}:{one.getsockname()[1]}"
    options = {"endpoint": url, "access_key_id": "key", "secret_access_key": "secret", "region": "us-east-1"}
    storage = ObjectStorage.from_url(
        "s3://b/x", **options, virtual_hosted_style_request=False, client_options={"allow_http": True}
    )
    began = time.monotonic()
    with pytest.raises(StoreError, match="cannot reach the store s3://b/x to write a: ") as caught:
        storage.put_if_absent("a", b"")
    assert url in str(caught.value)
    assert "secret" not in str(caught.value)
    assert time.monotonic() - began < 25
