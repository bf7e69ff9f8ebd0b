"""The limit of a batch applies to validation before the first step, not after an epoch of work."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.train.runs.test_loop import config

from spikestore.store import FeatureSet, Store
from spikestore.store_schemas.errors import UsageError
from spikestore.train import FeatureLoader
from spikestore.train.runs.batch_limit import refuse_large_batches
from spikestore.train.runs.config import DataConfig
from spikestore.train.runs.run import run


@pytest.fixture(scope="module")
def splits(store_folder: Path) -> dict[str, FeatureSet]:
    """Return both splits."""
    return Store(store_folder).splits("small")


def told(check: Callable[..., object], *arguments: object) -> str:
    """Return the message of the error that a call raises; an empty text if it raises none."""
    try:
        check(*arguments)
    except UsageError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    "padding",
    [{}, {"pad_to": 60}, {"pad_at_least": 20}, {"truncate_to": 15}, {"truncate_to": 9, "pad_to": 12}],
)
@pytest.mark.parametrize("batch_size", [1, 7, 1000])
def test_errors_are_those_of_a_pass(
    splits: dict[str, FeatureSet], padding: dict[str, Any], batch_size: int
) -> None:
    """For any limit, the error is that of a pass over the loader, or there is none."""
    raised = set()
    rows = min(batch_size, len(splits["valid"]))
    for limit in (4 * 10 * rows * bins for bins in (5, 9, 12, 14, 15, 18, 20, 25, 60)):
        data = DataConfig(name="small", batch_size=batch_size, max_frame_bytes=limit, **padding)
        loader = FeatureLoader(splits["valid"], batch_size, max_frame_bytes=limit, **padding)
        messages = [told(list, loader), told(refuse_large_batches, data, splits["valid"], loader)]
        assert messages[0] == messages[1]
        raised.add(messages[0] != "")
    assert raised == {False, True}


@pytest.mark.parametrize("batch_size", [1, 7, 1000])
def test_shares_of_all_ranks_are_checked(splits: dict[str, FeatureSet], batch_size: int) -> None:
    """With three ranks, the error is one that a rank raises in its pass, and there is none if no rank raises one."""
    features, raised = splits["valid"], set()
    for limit in (4 * 10 * -(-min(batch_size, len(features)) // 3) * bins for bins in (9, 12, 15, 18, 20)):
        data = DataConfig(name="small", batch_size=batch_size, max_frame_bytes=limit)
        loaders = [
            FeatureLoader(features, batch_size, max_frame_bytes=limit, rank=rank, ranks=3)
            for rank in range(3)
        ]
        passes = {told(list, loader) for loader in loaders}
        for loader in loaders:
            check = functools.partial(refuse_large_batches, data, features, loader, ranks=3)
            message = told(check)
            assert message in passes
            assert bool(message) == (passes != {""})
        raised.add(message != "")
    assert raised == {False, True}


def test_before_the_first_step(splits: dict[str, FeatureSet], store_folder: Path, tmp_path: Path) -> None:
    """No step is taken if a batch for validation is too large, although the first batch of the training set fits."""
    heard: list[str] = []

    def listen(done: int, total: int, label: str) -> None:
        heard.append(label)

    limit = 4 * 8 * 10 * (splits["valid"].manifest.n_bins - 1)
    data = {"name": "small", "batch_size": 8, "max_frame_bytes": limit}
    next(iter(FeatureLoader(splits["train"], 8, shuffle=True, max_frame_bytes=limit)))
    with pytest.raises(UsageError, match="more than max_frame_bytes"):
        run(config(data=data), Store(store_folder), tmp_path / "run", progress=listen)
    assert not [label for label in heard if "epoch" in label]
    assert not (tmp_path / "run").exists()
