"""Augmentations from papers, by name, as tables of a configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Preset:
    """The augmentations of a paper.

    Attributes
    ----------
    tables : tuple of dicts
        The augmentations as tables of a configuration, in the order in which they are applied.
    citation : str
        The paper.
    """

    tables: tuple[dict[str, Any], ...]
    citation: str


_SPIKCOMMANDER = (
    "Wang and others, Efficient speech command recognition leveraging spiking neural network and progressive time-scaled "
    "curriculum distillation (SpikeSCR), Neural Networks, 2025; the model SpikCommander by the same authors uses the same masks"
)
_EVENTMIX = (
    "Shen, Zhao and Zeng, EventMix: An efficient data augmentation strategy for event-based learning, Information Sciences 644, "
    "2023"
)

_EVENTPROP = (
    "Nowotny, Turner and Knight, Loss shaping enhances exact gradient learning with Eventprop in spiking neural networks, "
    "Neuromorphic Computing and Engineering, 2025"
)

_NDA = "Li, Kim, Park, Geller and Panda, Neuromorphic data augmentation for training spiking neural networks, ECCV 2022"


def _nda(pixels: int, degrees: int) -> Preset:
    """Return the preset ``nda``: each sample is rolled by at most `pixels`, or rotated or sheared by at most `degrees`."""
    choices = [
        {"op": "roll", "pixels": pixels},
        {"op": "rotate", "degrees": degrees},
        {"op": "shear", "degrees": degrees},
    ]
    return Preset(({"op": "one_of", "choices": choices},), _NDA)


PRESETS = {
    # Sizes are those of the paper's configuration for SHD: 140 channels, and a longest delay of 25 steps. The paper's
    # ranges exclude their end.
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
        ({"op": "cut_mix", "region": "xy"},), f"CutMix, with which the authors compare EventMix: {_EVENTMIX}"
    ),
    "event-drop": Preset(
        (
            {
                "op": "one_of",
                "probability": 0.75,  # in one of four cases, the paper drops nothing
                "choices": [
                    {"op": "time_mask", "share": 0.9, "levels": 9},
                    {"op": "area_mask", "share": 0.25, "levels": 5},
                    {"op": "event_thinning", "probability": 0.9, "levels": 9},
                ],
            },
        ),
        "Gu, Sng, Hu and Yu, EventDrop: Data augmentation for event-based learning, IJCAI 2021",
    ),
    # The paper's epochs have each sample once, and as many blends. Its shift is a real number between -40 and 40, rounded towards 0.
    "eventprop": Preset(
        (
            {"op": "blend", "align": "centre", "probability": 0.5},
            {"op": "channel_shift", "channels": 39},
        ),
        _EVENTPROP,
    ),
    "nda-cifar10-dvs": _nda(pixels=5, degrees=30),
    "nda-ncaltech101": _nda(pixels=3, degrees=15),
}
"""Presets by name; `docs/loading.md` lists how the presets differ from the code of their papers."""
