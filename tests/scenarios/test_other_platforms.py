"""Systems without some calls of Linux: everything imports, a set is built and read, and a network trains."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Functions that these systems lack, by module. Packages that need them (torch, zarr, obstore) are imported first.
LACKS = {
    "win32": {
        "os": (
            "O_DIRECTORY O_NONBLOCK O_CLOEXEC RTLD_LAZY RTLD_NOLOAD chown fchmod fchown fork get_blocking geteuid getuid killpg "
            "posix_fadvise pread preadv pwrite pwritev register_at_fork sched_getaffinity set_blocking setsid statvfs sync sysconf uname"
        ),
        "signal": "SIGHUP SIGKILL SIGQUIT SIGUSR1 pthread_sigmask",
        "select": "poll POLLERR POLLHUP",
        "errno": "EREMOTEIO",
    },
    "darwin": {
        "os": "posix_fadvise preadv pwritev sched_getaffinity",
        "errno": "EREMOTEIO",
    },
}

SIMULATION = """
import errno, importlib, io, os, pkgutil, select, signal, sys, types
import distributed, h5py, hypothesis, numba, obstore, platformdirs, pytest, torch, torch.utils.tensorboard, zarr

platform, lacks = sys.argv[1], {lacks!r}
for module, names in lacks[platform].items():
    for name in names.split():
        vars(sys.modules[module]).pop(name, None)
for name in ("fcntl", "grp", "pwd", "resource", "termios"):
    sys.modules[name] = None
opened = io.open  # what pathlib calls
def without_proc(path, *them, **more):
    if str(path).startswith("/proc/"):
        raise FileNotFoundError(2, "no such file", str(path))
    return opened(path, *them, **more)
io.open = without_proc

import spikestore.pipeline, spikestore.store, spikestore.store_schemas, spikestore.train
packages = [spikestore.pipeline, spikestore.store, spikestore.store_schemas, spikestore.train]
names = [found.name for package in packages
         for found in pkgutil.walk_packages(package.__path__, package.__name__ + ".")]
for name in names:
    if not name.endswith("__main__") and ".neurons.gpu." not in name:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != "triton":  # kernels of GPUs; Triton exists for Linux only
                raise
ours = types.SimpleNamespace(**{{**vars(sys), "platform": platform}})
for name in names:
    if getattr(sys.modules.get(name), "sys", None) is sys:
        sys.modules[name].sys = ours  # other packages have chosen their code by the real platform
print(len(names), "modules")
"""

USES = """
from pathlib import Path
from tests.store.small_sets import same, small_set
from spikestore.store import Store, verify
from spikestore.store.cli.main import main
from spikestore.train.data.placement import free_host_bytes
small = small_set(70)
store = Store("store")
store.point("small", {"train": small.build(store.storage), "valid": small.build(store.storage)})
assert same(store["small:train"].read(), small.truth)
assert verify(store["small:train"], depth="deep") == []
assert free_host_bytes() > 0
Path("small.toml").write_text(
    'epochs = 1\\n[data]\\nname = "small"\\nbatch_size = 16\\n[network]\\nhidden = [4]\\n[optimiser]\\nlearning_rate = 0.01\\n'
)
assert main(["train", "small.toml", "--store", "store", "--device", "cpu"]) == 0
assert main(["evaluate", "runs/small/last.pt", "--store", "store", "--device", "cpu", "--split", "valid"]) == 0
assert main(["init", "other", "--shared", "group"]) == (0 if hasattr(os, "chown") else 2)
"""


@pytest.mark.slow
@pytest.mark.parametrize("platform", ["win32", "darwin"])
def test_reads_and_trains_without_calls_that_only_linux_has(platform: str, tmp_path: Path) -> None:
    """Every module imports, and reading, verifying, training and evaluating on the CPU work."""
    (tmp_path / "script.py").write_text(SIMULATION.format(lacks=LACKS) + USES)
    done = subprocess.run(
        [sys.executable, "script.py", platform],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)]),
            "OMP_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    if platform == "win32":
        assert "omit --shared" in done.stderr
