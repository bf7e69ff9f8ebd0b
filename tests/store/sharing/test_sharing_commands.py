"""The commands ``push``, ``pull``, ``ls`` and ``show``, in this process."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.faults.forger import Forgery, reseal
from tests.store.small_sets import small_set

from spikestore.store import Store, verify
from spikestore.store.cli import console
from spikestore.store.cli.main import main

SMALL = small_set(140)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Return a store with ``small:train``."""
    Forgery.build(tmp_path / "store", SMALL)
    return tmp_path / "store"


def test_push_and_pull(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both report what was copied, the JSON in numbers; a second time there is nothing to do."""
    there, back = tmp_path / "there", tmp_path / "back"
    digest = Store(store)["small:train"].digest
    assert main(["push", "small", "--to", str(there), "--store", str(store)]) == 0
    said = capsys.readouterr()
    assert f"to {there} (digest {digest[:12]})" in said.err
    assert said.out == ""
    assert main(["pull", "small:train", "--from", f"file://{there}", "--store", str(back), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    (found,) = document["feature_sets"].values()
    assert found["digest"] == digest
    assert found["bytes"] == found["bytes_copied"] > 10_000
    assert main(["pull", "small", "--from", str(there), "--store", str(back), "--deep"]) == 0
    assert "small:train: exists already" in capsys.readouterr().err
    assert verify(Store(back)["small:train"], depth="deep") == []


def test_keys_and_several_names(store: Path, tmp_path: Path) -> None:
    """Each argument is copied; beginnings of keys are accepted too."""
    other = small_set(64, split="valid", seed=2)
    Store(store).point("other", {"valid": other.build(Store(store).storage)})
    key = SMALL.source.key[:10]
    assert main(["push", key, "other", "--to", str(tmp_path / "there"), "--store", str(store)]) == 0
    assert Store(tmp_path / "there").names() == ["other"]
    assert len([*Store(tmp_path / "there").feature_sets()]) == 2


@pytest.mark.parametrize("second", ["unknown", "other"])
def test_wrong_names_are_found_before_the_first_is_copied(store: Path, tmp_path: Path, second: str) -> None:
    """Status 2 says that nothing was done, also if the second name does not exist, or may not move in the destination."""
    there = Store(tmp_path / "there")
    there.point("other", {"train": small_set(64, time_window=2000.0).build(there.storage)})
    Store(store).point("other", {"train": small_set(64, seed=2).build(Store(store).storage)})
    back = Store(tmp_path / "back")  # `other` may not move there either
    back.point("other", {"train": small_set(64, time_window=2000.0).build(back.storage)})
    names = ("small", second)
    assert main(["push", *names, "--to", str(tmp_path / "there"), "--store", str(store)]) == 2
    assert main(["pull", *names, "--from", str(store), "--store", str(tmp_path / "back")]) == 2
    for copy in (there, back):
        assert (copy.names(), len([*copy.feature_sets()])) == (["other"], 1)


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["push", "smal", "--to", "there"], 2, "did you mean 'small'"),
        (["push", "small"], 2, "--to"),
        (["push", "small", "--to", "ftp://x"], 2, "a store must be a folder"),
        (["push", "small", "--to", "s3://a:b@c/d"], 2, "must not contain a user, a password or a query"),
        (["push", "small", "--to", "store"], 2, "is both source and destination"),
        (["pull", "small", "--from", "nowhere"], 2, "no store at"),
        (["pull", "--from", "store"], 2, "NAME"),
    ],
)
def test_wrong_use(
    store: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    status: int,
    words: str,
) -> None:
    """The message is one line with a remedy, and nothing is done."""
    monkeypatch.chdir(tmp_path)
    assert main([*arguments, "--store", "store" if arguments[0] == "push" else "here"]) == status
    said = capsys.readouterr().err
    assert words in said
    assert "Traceback" not in said
    assert not (tmp_path / "there").exists()
    assert not (tmp_path / "here").exists()


def test_damage_ends_with_status_1(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The object and the store that it is in are named."""
    (path,) = store.glob("features/*/*/builds/*/data.zarr/label/c/1")
    path.write_bytes(b"?" + path.read_bytes()[1:])
    assert main(["pull", "small", "--from", str(store), "--store", str(tmp_path / "here")]) == 1
    assert f"data.zarr/label/c/1 in {store} is damaged" in capsys.readouterr().err


def test_damage_of_one_name_does_not_stop_the_others(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The other names are copied and reported, and then the command ends with status 1."""
    other = small_set(64, split="valid", seed=2)
    Store(store).point("other", {"valid": other.build(Store(store).storage)})
    (path,) = store.glob(f"features/*/{SMALL.source.key}/builds/*/data.zarr/label/c/1")
    path.write_bytes(b"?" + path.read_bytes()[1:])
    for command in (
        ("push", "--to", tmp_path / "a", "--store", store),
        ("pull", "--from", store, "--store", tmp_path / "b"),
    ):
        assert main([*map(str, command), "small", "other", "--json"]) == 1
        said = capsys.readouterr()
        assert [*json.loads(said.out)["feature_sets"]] == ["other:valid"]
        assert "data.zarr/label/c/1" in said.err
    assert (Store(tmp_path / "a").names(), Store(tmp_path / "b").names()) == (["other"], ["other"])


def test_sets_are_reported_in_the_order_of_the_arguments(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Store(store).point("other", {"valid": small_set(64, split="valid", seed=2).build(Store(store).storage)})
    assert main(["push", "small", "other", "--to", str(tmp_path / "a"), "--store", str(store), "--json"]) == 0
    assert [*json.loads(capsys.readouterr().out)["feature_sets"]] == ["small:train", "other:valid"]


def test_a_set_that_two_arguments_select_is_reported_once(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second, empty copy was reported."""
    names = ("small", "small:train")
    assert main(["push", *names, "--to", str(tmp_path / "a"), "--store", str(store), "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["feature_sets"].values()
    assert found["bytes_copied"] > 10_000


def test_provenance(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Everything in the manifest about the origin of a set is shown; control characters in a malicious manifest are shown as escapes."""
    forgery = Forgery(store, SMALL.address)
    forgery.change_manifest(
        lambda document: document.update(
            provenance={
                "executor": "fused",
                "seconds": 1.5,
                "packages": {"tonic": "1.7.0"},
                "note": "\x1b[2Jgone\u202e",
            }
        )
    )
    assert main(["show", "small:train", "--store", str(store), "--provenance"]) == 0
    text = capsys.readouterr().out
    for words in (
        "'op': 'to_frame'",
        "0" * 64,
        "train.h5",
        "package     tonic 1.7.0",
        "seconds           1.5",
    ):
        assert words in text
    assert "140, 2 of them skipped" in text
    assert "130: unsorted times" in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert r"\x1b[2Jgone\u202e" in text
    assert main(["show", "small:train", "--store", str(store)]) == 0
    assert "package     tonic" not in capsys.readouterr().out


def test_provenance_of_another_shape(store: Path) -> None:
    """Provenance has no fixed members, so no member is required."""
    reseal(
        next(store.glob("features/*/*/manifest.json")),
        lambda document: document.update(provenance={"packages": ["a"]}),
    )
    assert main(["show", "small:train", "--store", str(store), "--provenance"]) == 0


def test_lines_of_bytes(capsys: pytest.CaptureFixture[str]) -> None:
    """Bytes are shown in readable units, with rate and remaining time, for copies of any size."""
    times = iter((0.0, 1.0, 11.0, 21.0))
    report = console.progress_lines("bytes", clock=lambda: next(times))
    report(500, 4_000_000_000, "small:train")
    report(1_000, 4_000_000_000, "small:train")
    report(1_000_001_000, 4_000_000_000, "small:train")
    report(4_000_000_000, 4_000_000_000, "small:train")
    assert capsys.readouterr().err.splitlines() == [
        "small:train: 500 bytes of 4.0 GB",
        "small:train: 1.0 GB of 4.0 GB, 100.0 MB/s, 30 s left",
        "small:train: 4.0 GB of 4.0 GB, 190.5 MB/s in 21 s",
    ]
