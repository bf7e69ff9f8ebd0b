"""Bits of SplitMix64: arrays, tensors and compiled loops give those of the published generator."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch

import spikestore.train
from spikestore.train.data import splitmix
from spikestore.train.data.frames import draw_kernels, random_bits

SEED = 1234567
# From Rosetta Code, for the authors' C code.
PUBLISHED = [
    6457827717110365317,
    3203168211198807973,
    9817491932198370423,
    4593380528125082431,
    16408922859458223821,
]


def test_bits_are_those_of_the_published_generator() -> None:
    """The n-th number of a seed is the mixed seed + n · STEP."""
    states = [(SEED + number * splitmix.STEP) % 2**64 for number in range(1, 6)]
    assert [int(draw_kernels.mixed(np.uint64(state))) for state in states] == PUBLISHED
    signed = torch.tensor([state - 2**64 if state >= 2**63 else state for state in states])
    assert [bits % 2**64 for bits in random_bits.mixed(signed).tolist()] == PUBLISHED
    assert [random_bits._mixed_number(state) for state in states] == PUBLISHED


def test_keys_are_mixed_states_from_the_hash_of_their_text() -> None:
    """Orders of epochs and held-out rows depend on them."""
    start = int.from_bytes(hashlib.sha256(b"some text").digest()[:8], "big")
    numbers = [0, 1, 2**40]
    states = [np.uint64((start + number * splitmix.STEP) % 2**64) for number in numbers]
    expected = [int(draw_kernels.mixed(state)) for state in states]
    assert splitmix.random_keys(np.array(numbers), "some text").tolist() == expected


def test_constants_are_written_once() -> None:
    """GPU kernels have them from the same module."""
    package = Path(spikestore.train.__file__).parent
    texts = {path.name: path.read_text(encoding="utf-8").lower() for path in package.rglob("*.py")}
    for constant in (splitmix.STEP, *splitmix.MULTIPLIERS):
        assert [name for name, text in texts.items() if f"{constant:x}" in text] == ["splitmix.py"]
