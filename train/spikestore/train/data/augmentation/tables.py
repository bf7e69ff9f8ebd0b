"""Augmentations made from tables of a configuration, such as ``{op = "time_shift", bins = 5}`` or ``{preset = "eventmix"}``."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Any

from spikestore.store_schemas.errors import UsageError
from spikestore.store_schemas.wording import did_you_mean
from spikestore.train.data.arguments import whole_number
from spikestore.train.data.augmentation.additions import Blend, CutMix, EventMix, UniformNoise
from spikestore.train.data.augmentation.choice import OneOf
from spikestore.train.data.augmentation.fields import CheckedAugmentation
from spikestore.train.data.augmentation.moves import (
    ChannelJitter,
    ChannelShift,
    PolarityFlip,
    Roll,
    Rotate,
    Shear,
    SpatialFlip,
    TimeReversal,
    TimeShift,
    TimeStretch,
    Translate,
)
from spikestore.train.data.augmentation.presets import PRESETS
from spikestore.train.data.augmentation.removals import (
    AreaMask,
    ChannelMask,
    EventDrop,
    EventThinning,
    TimeMask,
)

_CLASSES: tuple[type[CheckedAugmentation], ...] = (
    *(TimeShift, TimeStretch, TimeReversal, ChannelShift, ChannelJitter, Translate, Rotate, SpatialFlip),
    *(PolarityFlip, EventDrop, EventThinning, TimeMask, ChannelMask, UniformNoise, Blend, CutMix, EventMix),
    *(Roll, Shear, AreaMask, OneOf),
)
OPERATIONS = {re.sub(r"(?<!^)(?=[A-Z])", "_", one.__name__).lower(): one for one in _CLASSES}
"""Augmentations by their names in configurations: ``time_shift`` is `TimeShift`."""

_SEED_STEP = 2**32
"""Difference of the seeds of two tables with the same operation: runs whose seeds are below this number share no draws."""


def preset(name: str, seed: int = 0) -> tuple[CheckedAugmentation, ...]:
    """Return the augmentations of a paper, for ``augment`` of a `FeatureLoader`; docs/loading.md lists the names.

    Parameters
    ----------
    name : str
        A name such as ``snn-delays``.
    seed : int
        With another seed, other numbers are drawn.

    Raises
    ------
    UsageError
        No preset has that name, or the seed is not a whole number.
    """
    return augmentations_of(checked_tables({"preset": name}), whole_number("seed", seed))


def checked_tables(table: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a list with the checked table; for a table that names a preset, return the checked tables of the preset.

    A missing field is added with its default. Only a missing seed is not added: `augmentations_of` derives it from the run's seed.

    Raises
    ------
    UsageError
        The operation, the preset or a field is unknown, a field without a default is missing, or a value is wrong.
    """
    if "preset" not in table:
        return [_checked(table)]
    name, seed = table["preset"], {key: value for key, value in table.items() if key != "preset"}
    if not isinstance(name, str) or name not in PRESETS:
        raise UsageError(
            f"unknown preset {name!r}{did_you_mean(str(name), PRESETS) or ';'} use one of {', '.join(PRESETS)}"
        )
    for field in seed:
        if field != "seed":
            raise UsageError(
                f"a table with the field preset can have only one other field, seed; got {field!r}"
            )
    return [_checked(_with_seed(one, seed)) for one in PRESETS[name].tables]


def _with_seed(table: Mapping[str, Any], seed: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of `table` with the fields of the mapping `seed`, also in each table of the field ``choices``.

    `seed` has the field ``seed`` or no field.
    """
    choices = {"choices": [_with_seed(one, seed) for one in table["choices"]]} if "choices" in table else {}
    return {**table, **choices, **seed}


def _checked(table: Mapping[str, Any]) -> dict[str, Any]:
    name = table.get("op")
    if not isinstance(name, str) or name not in OPERATIONS:
        if name is None:
            raise UsageError(
                f"a table must have the field op (one of {', '.join(OPERATIONS)}) or the field preset (one of {', '.join(PRESETS)})"
            )
        raise UsageError(
            f"unknown op {name!r}{did_you_mean(str(name), OPERATIONS) or ';'} use one of {', '.join(OPERATIONS)}"
        )
    known = {field.name: field.default for field in fields(OPERATIONS[name])}  # type: ignore[arg-type]
    for field in table:
        if field not in known and field != "op":
            raise UsageError(
                f"{name} has no field {field!r}{did_you_mean(field, known) or ';'} fields are {', '.join(known)}"
            )
    for field, default in known.items():
        if default is MISSING and field not in table:
            raise UsageError(f"{name} needs the field {field}")
    if "choices" in known:
        table = {**table, "choices": _checked_choices(table["choices"])}
    made = _made(table, 0, Counter())
    written = {field: getattr(made, field) for field in known if field != "seed" or "seed" in table}
    return {"op": name, **written, **{field: table[field] for field in known if field == "choices"}}


def _checked_choices(tables: object) -> list[dict[str, Any]]:
    if not isinstance(tables, list | tuple) or not all(isinstance(one, Mapping) for one in tables):
        raise UsageError(f"choices must be a list of tables, got {tables!r}")
    checked = []
    for number, table in enumerate(tables):
        if "op" not in table:
            raise UsageError(
                f"choices[{number}] must have the field op, because a choice cannot be a preset; use one of {', '.join(OPERATIONS)}"
            )
        try:
            checked.append(_checked(table))
        except UsageError as error:
            raise UsageError(f"choices[{number}]: {error}") from error
    return checked


def augmentations_of(tables: Sequence[Mapping[str, Any]], seed: int) -> tuple[CheckedAugmentation, ...]:
    """Return the augmentations of checked tables.

    Parameters
    ----------
    tables : sequence of mappings
        Results of `checked_tables`.
    seed : int
        Seed of the run, for tables without a seed. If two tables have the same operation and no seed, they draw
        different numbers.
    """
    earlier: Counter[str] = Counter()
    return tuple(_made(table, seed, earlier) for table in tables)


def _made(table: Mapping[str, Any], seed: int, earlier: Counter[str]) -> CheckedAugmentation:
    """Return the augmentation of a checked table; `earlier` counts, for each operation, the tables before this one."""
    name = table["op"]
    values = {"seed": seed + earlier[name] * _SEED_STEP} | {
        field: value for field, value in table.items() if field != "op"
    }
    earlier[name] += 1
    if "choices" in values:
        values["choices"] = tuple(_made(one, seed, earlier) for one in values["choices"])
    return OPERATIONS[name](**values)
