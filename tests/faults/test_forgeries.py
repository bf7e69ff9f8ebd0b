"""Random forgeries: each use of a forged set returns the same samples or raises an error of spikestore.

A failure names its seed: ``survey(store, folder, seed)`` forges the same again.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.faults.forger import SMALL, Forgery, with_column, with_row
from tests.faults.set_uses import USES, Frames

from spikestore.store import verify
from spikestore.store_schemas.errors import DamagedError, SpikestoreError

NUMBERS = (
    0,
    1,
    2,
    3,
    63,
    64,
    255,
    256,
    65535,
    65536,
    2**31 - 1,
    2**32 - 2,
    2**32 - 1,
    2**32,
    2**40,
    2**53 - 1,
)
"""Numbers at which something changes: a dtype, a block, a fill value, the size of a machine."""


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store with ``small:train``, not to be changed."""
    folder = tmp_path_factory.mktemp("honest") / "store"
    Forgery.build(folder)
    return folder


def forge(forged: Forgery, rng: random.Random) -> str:
    """Change something at random, seal all of it again, and return what was changed."""
    fragment = rng.randrange(len(forged.features.manifest.fragments))
    kind = rng.choice(["column", "row", "manifest", "record"])
    if kind in {"column", "row"}:
        columns = forged.rows(fragment)
        row = rng.randrange(len(columns))
        if kind == "row":
            places = [rng.randrange(300) for _ in range(rng.randrange(5))]
            values = [rng.choice([0, 1, 2, 255, 256, 70_000]) for _ in places]
            forged.replace_rows(with_row(columns, row, places, values), fragment)
            return f"row {row} of fragment {fragment}: {places}, {values}"
        name = rng.choice(["n_bins", "label", "n_events"])
        number = rng.choice([one for one in NUMBERS if one < 2 ** (31 if name == "label" else 32)])
        forged.replace_rows(with_column(columns, name, row, number), fragment)
        return f"{name} of row {row} of fragment {fragment}: {number}"
    number, path = rng.choice(NUMBERS), ""

    def change(document: dict[str, Any]) -> None:
        nonlocal path
        holder, key, path = rng.choice([*_numbers(document)])
        holder[key] = number

    if kind == "manifest":
        forged.change_manifest(change)
    else:
        forged.change_record(change, fragment)
    return f"{kind}{path}: {number}"


def _numbers(document: Any, path: str = "") -> Iterator[tuple[Any, Any, str]]:
    """Yield the positions of numbers in a document."""
    for key, member in document.items() if isinstance(document, dict) else enumerate(document):
        if isinstance(member, dict | list):
            yield from _numbers(member, f"{path}/{key}")
        elif isinstance(member, int | float) and not isinstance(member, bool):
            yield document, key, f"{path}/{key}"


def survey(honest: Path, folder: Path, seed: int) -> None:
    """Forge a copy of a store, and assert that all uses agree."""
    shutil.copytree(honest, folder)
    forged = Forgery(folder, SMALL.address)
    what = f"seed {seed}: {forge(forged, random.Random(seed))}"  # noqa: S311 - no secret
    results: dict[str, Frames | SpikestoreError] = {}
    try:
        features = forged.features
        damages = verify(features, depth="deep")
    except SpikestoreError:
        return  # it is not even opened
    for name, use in USES.items():
        try:
            results[name] = use(features)
        except SpikestoreError as error:
            results[name] = error
        except BaseException as error:
            raise AssertionError(f"{what}: {name} ends in {error!r}") from error
    samples = [result for result in results.values() if not isinstance(result, SpikestoreError)]
    assert all(one == samples[0] for one in samples), f"{what}: {[*results]} differ"
    broken = {name: result for name, result in results.items() if isinstance(result, DamagedError)}
    assert damages or not broken, f"{what}: verify --deep finds nothing, and {broken}"


@pytest.mark.parametrize("seed", range(24))
def test_all_uses_agree(honest: Path, tmp_path: Path, seed: int) -> None:
    survey(honest, tmp_path / "store", seed)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(100, 1100, 100))
def test_all_uses_agree_in_the_long_run(honest: Path, tmp_path: Path, first: int) -> None:
    for seed in range(first, first + 100):
        survey(honest, tmp_path / str(seed), seed)
        shutil.rmtree(tmp_path / str(seed))
