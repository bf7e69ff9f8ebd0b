"""Augmentations of papers, by name, as tables of a configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Preset:
    """The augmentations of a paper.

    Attributes
    ----------
    tables : tuple of dicts
        As in a configuration, in the order in which they are applied.
    citation : str
        The paper.
    """

    tables: tuple[dict[str, Any], ...]
    citation: str


_SPIKCOMMANDER = (
    "Wang and others, Efficient speech command recognition leveraging spiking neural network and progressive time-scaled "
    "curriculum distillation (SpikeSCR), Neural Networks, 2025; SpikCommander by the same authors has the same masks"
)
_EVENTMIX = (
    "Shen, Zhao and Zeng, EventMix: An efficient data augmentation strategy for event-based learning, Information Sciences 644, "
    "2023"
)

PRESETS = {
    # The sizes of its configuration for SHD: 140 channels, 25 steps of the longest delay. Its ranges exclude their end.
    "snn-delays": Preset(
        (
            {"op": "time_mask", "bins": 25 // 3 - 1, "probability": 0.65},
            {"op": "channel_mask", "channels": 140 // 5 - 1, "probability": 0.65},
            {"op": "cut_mix", "probability": 0.5},
        ),
        "Hammouamri, Khalfaoui-Hassani and Masquelier, Learning delays in spiking neural networks using dilated convolutions "
        "with learnable spacings, ICLR 2024",
    ),
    "spikcommander-shd": Preset(
        (
            {"op": "time_mask", "share": 0.2, "probability": 0.5},
            {"op": "channel_mask", "channels": 19, "probability": 0.5},
        ),
        _SPIKCOMMANDER,
    ),
    "spikcommander-ssc": Preset(
        (
            {"op": "time_mask", "share": 0.1, "probability": 0.5},
            {"op": "channel_mask", "channels": 9, "probability": 0.5},
        ),
        _SPIKCOMMANDER,
    ),
    "eventmix": Preset(({"op": "event_mix"},), _EVENTMIX),
    "eventmix-cutmix": Preset(
        ({"op": "cut_mix", "region": "xy"},), f"the CutMix that EventMix is compared with: {_EVENTMIX}"
    ),
}
"""Presets by name; `docs/loading.md` lists what differs from each paper's own function."""
