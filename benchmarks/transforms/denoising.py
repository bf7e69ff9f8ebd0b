"""Speed of transforms that remove some of the events, each followed by frames, against Tonic's transforms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from benchmarks.datasets.scale import Scale
from benchmarks.form import Row, compare, timed
from spikestore.pipeline.readers.event_block import EventBlock
from spikestore.pipeline.transforms.from_tonic import transform_from_tonic
from spikestore.pipeline.transforms.fused import FusedChain

SIDE, EVENTS, LENGTH = 128, 100_000, 2_000_000
"""Number of pixels along each axis, number of events of a recording, and length of a recording in µs. Half of the events
are in a moving spot; the other events are anywhere."""


def denoise(scale: Scale) -> Row:
    """Compare the speed of ``denoise`` and frames of 10 ms with that of Tonic's classes."""
    from tonic import transforms

    return _against_tonic("denoise and to_frame vs Tonic", transforms.Denoise(10_000), SIDE, scale)


def refractory_period(scale: Scale) -> Row:
    """Compare the speed of ``refractory_period`` and ``to_frame`` (10 ms) with the speed of the same transforms in Tonic."""
    from tonic import transforms

    part = transforms.RefractoryPeriod(1_000)
    return _against_tonic("refractory_period and to_frame vs Tonic", part, SIDE, scale)


def center_crop(scale: Scale) -> Row:
    """Compare our speed with Tonic's: ``center_crop`` to 96 x 96 pixels, then frames of 10 ms."""
    from tonic import transforms

    part = transforms.CenterCrop((SIDE, SIDE, 2), 96)
    return _against_tonic("center_crop and to_frame vs Tonic", part, 96, scale)


def center_crop_bound(scale: Scale) -> Row:
    """Like `center_crop`, but our side gets cropped events and only makes frames: the ratio of `center_crop` cannot be higher."""
    from tonic import transforms

    part, name = (
        transforms.CenterCrop((SIDE, SIDE, 2), 96),
        "center_crop, bound: frames of the kept events vs Tonic",
    )
    return _against_tonic(name, part, 96, scale, kept=_cropped)


def _cropped(block: EventBlock) -> EventBlock:
    """Return the events of the central 96 x 96 pixels."""
    x, y = (np.asarray(values).astype(np.int64) - 16 for values in (block.x, block.y))
    kept = (x >= 0) & (x < 96) & (y >= 0) & (y < 96)
    offsets = np.concatenate([[0], np.cumsum(kept)])[block.offsets]
    moved_x, moved_y = x[kept].astype(np.uint16), y[kept].astype(np.uint16)
    p = np.asarray(block.p)[kept]
    return replace(block, offsets=offsets, t=block.t[kept], x=moved_x, y=moved_y, p=p)


def _against_tonic(
    name: str, part: object, side: int, scale: Scale, kept: Callable[[EventBlock], EventBlock] | None = None
) -> Row:
    """Return the comparison of our side with Tonic. Both sides apply the Tonic transform `part`, then make frames.

    If `kept` is given, our side does not apply `part`: it makes frames of the events that `kept` returns, and the time of `kept`
    does not count.
    """
    from tonic import transforms

    block = camera_recordings(scale.recordings or (4 if scale.small else 16))
    frames = transforms.ToFrame((side, side, 2), time_window=10_000)
    theirs = transforms.Compose([part, frames])
    chain = FusedChain(
        transform_from_tonic(theirs if kept is None else transforms.Compose([frames])), has_y=True
    )
    given = block if kept is None else kept(block)
    events = np.empty(len(block.t), [("x", "i8"), ("y", "i8"), ("t", "i8"), ("p", "i8")])
    for field in ("x", "y", "t", "p"):
        events[field] = getattr(block, field)

    def tonic() -> None:
        for start, stop in zip(block.offsets[:-1], block.offsets[1:], strict=True):
            theirs(events[start:stop])

    def ours() -> object:
        return chain(given, name_of=str)

    ours()  # the first run compiles
    row = Row(name, 20 if kept is None else None)
    return compare(row, _rate(ours, block), _rate(tonic, block), unit="events/s", turns=3)


def camera_recordings(count: int) -> EventBlock:
    """Return random recordings, in the form in which a reader of a camera's files returns them."""
    rng = np.random.default_rng(0)
    total = count * EVENTS
    t = np.sort(rng.integers(0, LENGTH, (count, EVENTS)), axis=1).reshape(-1)
    angle = t / LENGTH * 20
    in_spot = rng.random(total) < 0.5
    x, y = (
        np.where(in_spot, 64 + 40 * center + rng.normal(0, 4, total), rng.integers(0, SIDE, total))
        for center in (np.sin(angle), np.cos(angle))
    )
    return EventBlock(
        first_row=0,
        offsets=np.arange(count + 1, dtype=np.int64) * EVENTS,
        t=t,
        time_table=None,
        x=x.clip(0, SIDE - 1).astype(np.uint16),
        y=y.clip(0, SIDE - 1).astype(np.uint16),
        p=rng.integers(0, 2, total).astype(np.uint8),
        labels=np.zeros(count, np.int64),
        extras={},
        errors={},
    )


def _rate(work: Callable[[], object], block: EventBlock) -> Callable[[], float]:
    return lambda: len(block.t) / timed(work)


ROWS = [denoise, refractory_period, center_crop, center_crop_bound]
"""The rows of this module."""
