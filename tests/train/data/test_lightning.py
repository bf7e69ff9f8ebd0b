"""A Lightning Trainer and the loader have the same epochs, also after an interruption."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from spikestore.store import FeatureSet
from spikestore.train import FeatureLoader

pytestmark = (
    pytest.mark.slow
)  # the import of Lightning takes seconds; test_loader.py has the same epochs without it


@pytest.fixture(autouse=True)
def _quiet() -> Any:
    pytest.importorskip(
        "pytorch_lightning"
    )  # imported here, because the import takes seconds, and every worker collects this file
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning's warnings about workers, sizes of batches and loggers
        yield


class Stop(Exception):
    """Ends a fit in the middle of an epoch."""


def fit(
    loader: FeatureLoader, folder: Path, *, epochs: int, stop: int = -1, **options: Any
) -> dict[int, list[int]]:
    """Return the rows of each epoch, up to step number `stop`; resume from the last checkpoint if there is one."""
    import pytorch_lightning as lightning

    rows: dict[int, list[int]] = {}

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(1, 1)

        def training_step(self, batch: Any, number: int) -> Any:
            if self.global_step == stop:
                raise Stop
            rows.setdefault(self.current_epoch, []).extend(batch.samples.tolist())
            return self.layer(torch.ones(1, 1)).sum()

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), 0.1)

    keep = lightning.callbacks.ModelCheckpoint(folder, every_n_train_steps=1, save_last=True, save_top_k=0)
    trainer = lightning.Trainer(
        max_epochs=epochs, accelerator="cpu", logger=False, callbacks=[keep], enable_progress_bar=False,
        enable_model_summary=False, use_distributed_sampler=False, **options,
    )  # fmt: skip
    last = folder / "last.ckpt"
    try:
        trainer.fit(Module(), loader, ckpt_path=last if last.exists() else None, weights_only=False)
    except Stop:
        assert stop >= 0
    return rows


def made(features: FeatureSet) -> FeatureLoader:
    return FeatureLoader(features, 16, shuffle=True, seed=7)


def truth(features: FeatureSet, epochs: int) -> list[list[int]]:
    loader = made(features)
    return [[row for batch in loader for row in batch.samples.tolist()] for _ in range(epochs)]


def test_short_epochs_differ(features: FeatureSet, tmp_path: Path) -> None:
    """With ``limit_train_batches`` each epoch has the first batches of an order of its own."""
    found = fit(made(features), tmp_path, epochs=4, limit_train_batches=0.3)
    assert found == {epoch: rows[:48] for epoch, rows in enumerate(truth(features, 4))}


@pytest.mark.parametrize(("limit", "batches"), [(1.0, 10), (0.5, 5)])
@pytest.mark.parametrize("stop", [13, 10])
def test_a_fit_resumes_where_it_stopped(
    features: FeatureSet, tmp_path: Path, limit: float, batches: int, stop: int
) -> None:
    """Stopped in an epoch, a fit resumes with the next batch; stopped at its end, with the next epoch: as if it had not stopped."""
    options: dict[str, Any] = {"epochs": 3, "limit_train_batches": limit}
    before = fit(made(features), tmp_path, stop=stop, **options)
    after = fit(made(features), tmp_path, **options)
    expected = [rows[: batches * 16] for rows in truth(features, 3)]
    assert [before.get(epoch, []) + after.get(epoch, []) for epoch in range(3)] == expected
