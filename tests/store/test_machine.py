"""Home folders and cores of machines on which they are unknown or limited."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable
from pathlib import Path

import pytest

from spikestore.store import machine
from spikestore.store.machine import absolute_path, available_cores, expand_home, user_cache_folder
from spikestore.store.storage.aws_profiles import profile_options
from spikestore.store.store import Store, default_location
from spikestore.store_schemas.errors import UsageError


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run as a user without HOME and without an entry in the list of users, as under ``docker run -u 12345``."""

    def unknown(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    for name in [name for name in os.environ if name.startswith("XDG_") or name == "HOME"]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(pwd, "getpwuid", unknown)


@pytest.mark.usefixtures("nobody")
def test_a_user_without_a_home_folder_gets_advice() -> None:
    assert user_cache_folder() is None
    assert profile_options({}) == {}
    with pytest.raises(UsageError, match="no home folder: pass --store or set SPIKESTORE_STORE"):
        default_location()
    with pytest.raises(UsageError, match="this user has no home folder"):
        Store("~/store")


@pytest.mark.parametrize(
    "open_one", [Store, expand_home, lambda name: profile_options({"AWS_CONFIG_FILE": name})]
)
def test_a_user_that_does_not_exist_is_named(open_one: Callable[[str], object]) -> None:
    with pytest.raises(UsageError, match="no user 'no-such-user' on this machine") as caught:
        open_one("~no-such-user/x")
    assert caught.value.details["path"] == "~no-such-user/x"


def test_the_advice_for_a_folder_with_such_a_name_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert expand_home("./~no-such-user/x").absolute() == tmp_path / "~no-such-user" / "x"


@pytest.fixture
def cgroups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder for control groups; without them, the process may use 8 cores."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(machine, "_CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(machine, "_OWN_CGROUPS", tmp_path / "own")
    return tmp_path / "cgroup"


def test_cores_are_those_that_this_process_may_use(monkeypatch: pytest.MonkeyPatch, cgroups: Path) -> None:
    """The allowance of a job counts, not the number of cores of the machine."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5, 8}, raising=False)
    assert available_cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert available_cores() == 1


@pytest.mark.parametrize(
    ("own", "limits", "cores"),
    [
        ("0::/job/step", {"job/step/cpu.max": "max 100000", "job/cpu.max": "250000 100000"}, 3),
        ("0::/elsewhere", {"cpu.max": "50000 100000"}, 1),  # in a container, the root is the group itself
        ("4:cpu,cpuacct:/j", {"cpu/j/cpu.cfs_quota_us": "200000", "cpu/j/cpu.cfs_period_us": "100000"}, 2),
        ("4:cpu,cpuacct:/j", {"cpu/j/cpu.cfs_quota_us": "-1", "cpu/j/cpu.cfs_period_us": "100000"}, 8),
        ("4:memory:/j", {"cpu/j/cpu.cfs_quota_us": "100000", "cpu/j/cpu.cfs_period_us": "100000"}, 8),
        ("0::/", {"cpu.max": "nonsense"}, 8),
        ("0::/", {"cpu.max": "900000 100000"}, 8),
    ],
)
def test_control_groups_limit_cores(cgroups: Path, own: str, limits: dict[str, str], cores: int) -> None:
    """``docker run --cpus`` leaves all cores visible and gives less time on them."""
    (cgroups.parent / "own").write_text(f"{own}\n")
    for name, text in limits.items():
        (cgroups / name).parent.mkdir(parents=True, exist_ok=True)
        (cgroups / name).write_text(f"{text}\n")
    assert available_cores() == cores


def test_absolute_paths_are_plain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No ``..`` and no doubled slash in messages; a link is followed only where ``..`` comes after it, as the system does it."""
    (tmp_path / "far" / "inner").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "far" / "inner")
    monkeypatch.chdir(tmp_path)
    assert absolute_path("a/..//store/./x") == tmp_path.resolve() / "store" / "x"
    assert absolute_path("link/../store") == tmp_path.resolve() / "far" / "store"
    assert absolute_path("link/store") == tmp_path / "link" / "store"
    assert Store("a/../store").storage.url == str(tmp_path.resolve() / "store")
    (tmp_path / "loop").symlink_to("loop")
    assert absolute_path("loop/../store").name == "store"
