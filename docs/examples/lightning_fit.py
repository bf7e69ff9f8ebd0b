"""A FeatureLoader in a Lightning Trainer.

python docs/examples/lightning_fit.py STORE NAME
"""

import sys

import pytorch_lightning as lightning
import torch
from torch.nn.functional import cross_entropy

from spikestore.store import Store
from spikestore.train import FeatureLoader, NetworkSpec, build_network, forget_states


class Spiking(lightning.LightningModule):
    """The seed's network, smaller."""

    def __init__(self, sites, classes):
        super().__init__()
        self.network = build_network(NetworkSpec(hidden=(32,)), sites=sites, classes=classes)

    def outputs(self, batch):
        """Return the outputs summed over time; neurons start from rest in every batch."""
        forget_states(self.network)
        return self.network(batch.frames).sum(1)

    def training_step(self, batch, number):
        """Return the loss."""
        return cross_entropy(self.outputs(batch), batch.labels)

    def validation_step(self, batch, number):
        """Log the accuracy."""
        right = (self.outputs(batch).argmax(1) == batch.labels).float().mean()
        self.log("accuracy", right, batch_size=len(batch.labels))

    def configure_optimizers(self):
        """Return the optimiser."""
        return torch.optim.AdamW(self.parameters(), lr=1e-2)


def main(store, name):
    """Train for two epochs."""
    splits = Store(store).splits(name)
    train = FeatureLoader(splits["train"], 16, "stream", shuffle=True, window=64)
    valid = FeatureLoader(splits["valid"], 16)
    module = Spiking(splits["train"].layout.site_count, len(splits["train"].classes))
    trainer = lightning.Trainer(
        max_epochs=2,
        accelerator="cpu",
        use_distributed_sampler=False,  # ranks are the loader's
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
    )
    trainer.fit(module, train, valid)
    reached = float(trainer.callback_metrics["accuracy"])
    sys.stdout.write(f"steps {trainer.global_step} epochs {train.epoch + 1} accuracy {reached:.2f}\n")


if __name__ == "__main__":
    main(*sys.argv[1:3])
