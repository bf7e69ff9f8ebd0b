"""Push, pull and reading through a real S3 server."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.store.s3_server import BUCKET, KEY, SECRET, requests, variables
from tests.store.small_sets import same, small_set

from spikestore.store import Store, verify
from spikestore.store.cli.main import main
from spikestore.store_schemas.errors import ReadOnlyStoreError, StoreError

pytestmark = pytest.mark.s3

ROOT = Path(__file__).parents[3]
SMALL = small_set(140)
VALID = small_set(70, split="valid", seed=1)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Return a folder store with ``demo:train`` and ``demo:valid``, not to be changed."""
    store = Store(tmp_path_factory.mktemp("source") / "store")
    store.point("demo", {"train": SMALL.build(store.storage), "valid": VALID.build(store.storage)})
    return store


@pytest.fixture
def bucket(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """Return the URL of an empty prefix; the environment has the variables to reach it."""
    for name, value in variables(s3_endpoint).items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}/{tmp_path.name}/store"


def test_there_and_back(source: Store, bucket: str, tmp_path: Path) -> None:
    """A push, and a pull to another folder, by commands; `ls` and `show` work in the bucket."""
    assert main(["push", "demo", "--to", bucket, "--store", source.storage.url]) == 0
    assert main(["ls", "--store", bucket]) == 0
    assert main(["show", "demo:train", "--store", bucket, "--provenance"]) == 0
    assert main(["pull", "demo", "--from", bucket, "--store", str(tmp_path / "back")]) == 0
    for split, small in (("train", SMALL), ("valid", VALID)):
        features = Store(tmp_path / "back")[f"demo:{split}"]
        assert verify(features, depth="deep") == []
        assert same(features.read(), small.truth)


@pytest.mark.slow
def test_eight_pushers(source: Store, bucket: str) -> None:
    """All succeed; there is one manifest, one entry of the name, and the digest is right."""
    with ThreadPoolExecutor(8) as pool:
        done = [*pool.map(lambda _: Store(source.storage.url).push("demo", bucket), range(8))]
    there = Store(bucket)
    for split, small in (("train", SMALL), ("valid", VALID)):
        digests = {one[f"demo:{split}"].features.digest for one in done}
        assert digests == {there[f"demo:{split}"].digest} == {source[f"demo:{split}"].digest}
        assert verify(there[f"demo:{split}"], depth="deep") == []
        folder = [one.path for one in there.storage.list(small.address.folder)]
        assert len([path for path in folder if path.endswith("/manifest.json")]) == 1
    assert [one.path for one in there.storage.list("refs")] == ["refs/demo/00000001.json"]


@pytest.mark.parametrize("direction", ["push", "pull"])
@pytest.mark.parametrize("puts", [0, 18, 34], ids=["at once", "in the middle", "before the manifest"])
def test_killed(
    source: Store, bucket: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, direction: str, puts: int
) -> None:
    """After a process is killed, no set is listed; the next process resumes, reports the existing bytes, and succeeds."""
    if direction == "pull":
        source.push("demo:train", bucket)
        here, there = bucket, str(tmp_path / "there")
    else:
        here, there = source.storage.url, bucket
    arguments = ["-m", "tests.store.killed_copy", here, there, "demo:train", str(puts)]
    done = subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    destination = Store(there)
    assert [*destination.feature_sets()] == []
    assert destination.names() == []
    before = sum(1 for one in destination.storage.list("features") if "/builds/" in one.path)
    assert (before > 0) == (puts > 0)
    caplog.set_level(logging.INFO)
    copied = Store(here).push("demo:train", destination)["demo:train"]
    assert (f"bytes are in {there} already" in caplog.text) == (puts > 0)
    assert (copied.present > 0) == (puts > 0)
    assert verify(destination["demo:train"], depth="deep") == []


def test_reading_rights_are_enough(
    source: Store, bucket: str, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With reading rights, `ls`, `show`, `pull` and reading work; a push reports why it fails, and no error has a secret in it."""
    source.push("demo", bucket)
    for name, value in variables(s3_endpoint, key="reader", secret="reader").items():  # noqa: S106 - of the test server
        monkeypatch.setenv(name, value)
    assert main(["ls", "--store", bucket]) == 0
    assert main(["show", "demo:valid", "--store", bucket]) == 0
    assert main(["pull", "demo", "--from", bucket, "--store", str(tmp_path / "here")]) == 0
    assert same(Store(bucket)["demo:valid"].read(), VALID.truth)
    mine = Store(tmp_path / "mine")
    mine.point("other", {"train": small_set(64, seed=3).build(mine.storage)})
    with pytest.raises(ReadOnlyStoreError, match="cannot write to the store"):
        mine.push("other", bucket)


@pytest.mark.parametrize("wrong", ["secret", "key"])
def test_no_credentials_in_texts(
    bucket: str,
    s3_endpoint: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    wrong: str,
) -> None:
    """Errors, also in the traceback that a developer requests, have no keys in them."""
    secrets = {"key": KEY, "secret": SECRET, wrong: f"wrong-{wrong}-0123456789"}
    for name, value in variables(s3_endpoint, key=secrets["key"], secret=secrets["secret"]).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SPIKESTORE_DEBUG", "1")
    assert main(["ls", "--store", bucket]) == 1
    text = "".join(capsys.readouterr())
    assert "error: " in text
    for secret in secrets.values():
        assert secret not in text


@pytest.mark.parametrize("samples", [64, 640])
def test_requests_to_open(bucket: str, s3_endpoint: str, samples: int) -> None:
    """Opening takes four requests by name, two by key, for any size, counted by the server; then all columns can be read."""
    small = small_set(samples)
    store = Store(bucket)
    store.point("demo", {"train": small.build(store.storage)})
    for text, limit in (("demo:train", 4), ("/".join(small.address), 2)):
        before = requests(s3_endpoint)
        features = store[text]
        assert len(features) == samples
        assert features._rows.reader is not None
        assert (requests(s3_endpoint) - before).total() == limit


def test_requests_of_a_listing(bucket: str, s3_endpoint: str, capsys: pytest.CaptureFixture[str]) -> None:
    """There is one request for each set and each name, and a few more."""
    store = Store(bucket)
    for seed in range(6):
        store.point(f"name-{seed % 2}", {f"split-{seed}": small_set(3, seed=seed).build(store.storage)})
    before = requests(s3_endpoint)
    assert main(["ls", "--store", bucket]) == 0
    assert (
        requests(s3_endpoint) - before
    ).total() == 6 + 2 + 4  # listings: folders of two levels, names, partitions
    assert capsys.readouterr().out.count("name-1:split-") == 3


def test_a_loader_reads_a_bucket(bucket: str, source: Store) -> None:
    """Batches from the bucket equal those from the folder."""
    torch = pytest.importorskip("torch")
    from spikestore.train import FeatureLoader

    source.push("demo:train", bucket)
    loaders = [
        FeatureLoader(Store(one)["demo:train"], 32, shuffle=True) for one in (bucket, source.storage.url)
    ]
    for remote, local in zip(*loaders, strict=True):
        assert torch.equal(remote.frames, local.frames)
        assert torch.equal(remote.labels, local.labels)


def test_the_environment_of_these_tests(bucket: str) -> None:
    """The tests above about credentials need credentials in the environment."""
    assert os.environ["AWS_SECRET_ACCESS_KEY"] == SECRET
    assert Store(bucket).names() == []


def test_there_is_no_such_bucket(bucket: str, source: Store) -> None:
    """One line names the bucket, for every operation."""
    there, words = Store("s3://no-such-bucket/x"), "no bucket no-such-bucket"
    with pytest.raises(StoreError, match=words):
        there["demo"]
    with pytest.raises(StoreError, match=words):
        list(there.feature_sets())
    with pytest.raises(StoreError, match=words):
        source.push("demo", there)
