"""All checks that need a GPU, with one command: ``python3 -m benchmarks.gpu [--device cuda|cpu] [--out FOLDER] [--parts NAMES]``.

The parts are: a comparison of outputs, gradients and states with those of the CPU (``sanity``), the tests marked
``gpu``, the build of EXODUS and a comparison with EXODUS, then ``benchmarks.iaf``, ``.loading``, ``.augmentation`` and
``.seed`` on the device. Each part is a process with its own time limit; if a part fails, the other parts still run. All
parts together take at most 8 minutes. ``gpu.json`` and ``gpu.md`` in the output folder ($OUT, or runs/gpu) are written
anew after every part.

The command does not need make, a virtual environment, a registry or Dask. If a machine has no access to a
registry, copy the folder .kit into its checkout; ``benchmarks/gpu/wheels.sh`` creates .kit on a machine that has access.
``--device cpu`` runs the same parts in small sizes, without a GPU.

Exit status: 0 if all parts ran, 1 if a part failed or ran out of time, 2 for wrong options, 3 if there is no GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.gpu.kit import KIT, environment_of_parts, unpack
from benchmarks.gpu.page import write_results
from benchmarks.gpu.parts import DRY, ROOT, Outcome, Part, all_parts, run_part

LIMIT_S = 470.0
"""Seconds for all parts together."""
NO_GPU = 3

_PROBE = """
import json
import torch
there = torch.cuda.is_available()
print(json.dumps({
    "torch": torch.__version__,
    "CUDA of torch": torch.version.cuda,
    "GPU": torch.cuda.get_device_name() if there else None,
    "GPUs": torch.cuda.device_count() if there else 0,
}))
"""


def main(argv: list[str] | None = None) -> int:
    """Run the selected parts; return an exit status."""
    options = _options(argv)
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    out = out.resolve()
    began = time.monotonic()
    site = ROOT / ".site"
    machine, problem = _machine(environment_of_parts(site))
    parts = [part for part in all_parts(options.device) if not options.parts or part.name in options.parts]
    outcomes = [Outcome(part.name, part.what) for part in parts]
    if options.device == "cuda" and not machine.get("GPU"):
        reason = problem or _no_gpu(machine)
        for outcome in outcomes:
            outcome.status, outcome.reason = "skipped", f"no GPU: {reason}"
            sys.stdout.write(f"{outcome.name}: skipped: {outcome.reason}\n")
        write_results(out, machine, outcomes)
        sys.stderr.write(f"benchmarks.gpu: {reason}; --device cpu runs the same parts without one\n")
        return NO_GPU

    if problem := unpack(ROOT / KIT, site):
        sys.stderr.write(f"benchmarks.gpu: {KIT} could not be installed into {site}: {problem}\n")
    environment = environment_of_parts(site)
    writing = threading.Lock()

    def run(place: int) -> None:
        done = run_part(parts[place], out, began + options.limit - time.monotonic(), environment)
        with writing:
            outcomes[place] = done
            _tell(done)
            write_results(out, machine, outcomes)

    write_results(out, machine, outcomes)
    _run_all(parts, run)
    for name in ("gpu.md", "gpu.json"):
        sys.stdout.write(f"{out / name}\n")
    return int(any(one.status in ("failed", "out of time", "waiting") for one in outcomes))


def _run_all(parts: list[Part], run: Any) -> None:
    """First run the parts that do not measure time, all in parallel; then run the other parts one after another.

    ``exodus`` belongs to the other parts, because it needs the result of ``exodus-build``.
    """
    early = [place for place, part in enumerate(parts) if not part.measures and part.name != "exodus"]
    with ThreadPoolExecutor(max(len(early), 1)) as pool:
        list(pool.map(run, early))
    for place in range(len(parts)):
        if place not in early:
            run(place)


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python3 -m benchmarks.gpu",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    default = Path(os.environ.get("OUT") or ROOT / "runs" / "gpu")
    names = [part.name for part in all_parts("cuda")]
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--out", type=Path, default=default, help="where JSON, page and logs go")
    parser.add_argument("--parts", nargs="+", choices=names, metavar="NAME", help=f"of {', '.join(names)}")
    parser.add_argument("--limit", type=float, help=f"seconds for all parts together; {LIMIT_S:.0f} on a GPU")
    options = parser.parse_args(argv)
    if options.limit is None:
        options.limit = LIMIT_S if options.device == "cuda" else DRY * LIMIT_S
    return options


def _machine(environment: dict[str, str]) -> tuple[dict[str, Any], str | None]:
    """Return two results: a description of the machine, and the reason why torch does not work, or None if it works."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    machine: dict[str, Any] = {"cores": cores, "Python": platform.python_version()}
    try:
        done = subprocess.run(
            [sys.executable, "-c", _PROBE],
            env=environment,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return machine, "torch did not answer within 90 s"
    if done.returncode != 0:
        return machine, (done.stderr.strip().splitlines() or ["torch ended without a word"])[-1]
    return machine | json.loads(done.stdout.splitlines()[-1]), None


def _no_gpu(machine: dict[str, Any]) -> str:
    if machine["CUDA of torch"] is None:
        return f"torch {machine['torch']} is a build without CUDA"
    return f"torch {machine['torch']} sees no GPU here"


def _tell(outcome: Outcome) -> None:
    reason = f": {outcome.reason}" if outcome.reason else ""
    sys.stdout.write(f"{outcome.name}: {outcome.status} in {outcome.seconds:.0f} s{reason}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
