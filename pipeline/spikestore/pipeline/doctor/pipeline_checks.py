"""Checks of the pipeline: its packages, Tonic, and a small build whose digest is known."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from spikestore.pipeline.building.options import BuildOptions
from spikestore.pipeline.building.preprocess import preprocess
from spikestore.pipeline.demo.demo_data import write_demo_data
from spikestore.pipeline.recipes.shipped import shipped_recipes
from spikestore.store.doctor.findings import Finding, versions
from spikestore.store_schemas.specs.transform import ExecutorName

RECORDINGS = 40
"""Number of recordings of the small build."""

DIGEST = "158c33afe1623588474c498bdab8544db394c972952ce526bba73856b8b80405"
"""Digest of the set that the small build computes, on every machine."""


def pipeline_checks() -> Iterator[Finding]:
    """Yield findings on the packages of the pipeline, and the finding of `small_build`."""
    yield from versions("dask", "distributed", "h5py", "xxhash")
    if find_spec("tonic") is None:
        remedy = "install Tonic only if you pass its data sets or transforms to spikestore, or if you set executor = 'tonic': see docs/tonic.md"
        yield Finding("tonic", "absent", "not installed", remedy)
    else:
        yield from versions("tonic")
    if find_spec("numba") is None:  # another extra has brought h5py
        remedy = "to use spikestore.pipeline, run pip install 'spikestore[pipeline]'"
        yield Finding("small build", "absent", "numba is not installed", remedy)
    else:
        yield small_build()


def small_build(executor: ExecutorName = "fused") -> Finding:
    """Build a set from artificial recordings, and compare its digest with the digest that every machine must compute.

    The default ``fused`` tests compiled code. With ``auto``, a build of so few events uses plain NumPy.
    """
    with tempfile.TemporaryDirectory(prefix="spikestore-doctor-") as folder:
        write_demo_data(folder, train=RECORDINGS, valid=1, test=1)
        options = BuildOptions(workers=0, executor=executor)
        sets = preprocess(
            shipped_recipes()["demo"], data=folder, store=Path(folder, "store"), options=options
        )
        digest = sets["train"].digest
    if digest != DIGEST:
        return Finding(
            "small build",
            "problem",
            f"{RECORDINGS} recordings gave the digest {digest[:12]}, but other machines get {DIGEST[:12]}",
            "do not share sets that this machine built: report this problem, with the output of spikestore doctor --json",
        )
    return Finding(
        "small build",
        "ok",
        f"{RECORDINGS} recordings gave the digest {digest[:12]}, as on all other machines",
    )
