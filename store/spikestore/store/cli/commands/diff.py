"""``spikestore diff``: compare two feature sets."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spikestore.store.cli.commands.options import JsonOption, NameArgument, StoreOption, open_store
from spikestore.store.cli.console import print_json, stdout_console, visible
from spikestore.store_schemas.wording import plural

if TYPE_CHECKING:
    from spikestore.store.comparison.samples import SampleDifferences
    from spikestore.store.feature_set import FeatureSet

_MOST = 20
"""Maximum number of differing parameters and files that are shown without --json."""


def diff(
    first: NameArgument,
    second: NameArgument,
    store: StoreOption = None,
    other_store: Annotated[
        str | None,
        typer.Option(
            "--other-store",
            metavar="URL",
            help="Store of the second set; by default the store of the first set.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show how two feature sets differ: in parameters, in files, and in the samples of recordings that both sets have.

    Names with several splits are compared split by split. The exit status is 1 if the digests of a split differ, or if a
    split exists for only one of the two names.

    Examples
    --------
    spikestore diff ssc-4ms:train ssc-10ms:train --store ./feature_store
    spikestore diff demo demo --store ./feature_store --other-store s3://team/features
    """
    from spikestore.store_schemas.errors import UnknownNameError

    ours = dict(open_store(store, must_exist=True).splits(first))
    theirs = dict(open_store(store if other_store is None else other_store, must_exist=True).splits(second))
    if len(ours) == len(theirs) == 1:  # two sets that the user chose, also of different splits
        pairs = [(next(iter(ours.values())), next(iter(theirs.values())))]
    else:
        pairs = [(ours[split], theirs[split]) for split in ours if split in theirs]
    if not pairs:
        raise UnknownNameError(
            f"{first} has {', '.join(ours)}; {second} has {', '.join(theirs)}: pass one split of each set, as NAME:SPLIT"
        )
    left = sorted({*ours} ^ {*theirs}) if len(pairs) < max(len(ours), len(theirs)) else []
    documents = [_document(*pair) for pair in pairs]
    if as_json:
        print_json({"sets": documents, "splits_of_one": left})
    else:
        console = stdout_console()
        for number, document in enumerate(documents):
            for line in [*([""] if number else []), *_lines(document)]:
                console.print(visible(line), markup=False, emoji=False, soft_wrap=True)
        for split in left:
            console.print(
                f"only {first if split in ours else second} has a split {split!r}", markup=False, emoji=False
            )
    if left or any(not document["equal"] for document in documents):
        raise typer.Exit(1)


def _document(first: FeatureSet, second: FeatureSet) -> dict[str, Any]:
    from spikestore.store.comparison.samples import sample_differences
    from spikestore.store.comparison.specs import spec_differences

    equal = first.digest == second.digest
    samples = None if equal else sample_differences(first, second)
    return {
        "first": first.address._asdict() | {"digest": first.digest, "split": first.manifest.source.split},
        "second": second.address._asdict() | {"digest": second.digest, "split": second.manifest.source.split},
        "equal": equal,
        "differences": [asdict(one) for one in spec_differences(first.manifest, second.manifest)],
        "samples": None if samples is None else _samples(samples),
    }


def _samples(samples: SampleDifferences) -> dict[str, Any]:
    return {**asdict(samples), "first": samples.first._asdict(), "second": samples.second._asdict()}


def _lines(document: dict[str, Any]) -> list[str]:
    first, second = document["first"], document["second"]
    lines = [
        f"{first['split']}  {first['transform_key'][:12]}/{first['source_key'][:12]}  digest {first['digest'][:12]}",
        f"{second['split']}  {second['transform_key'][:12]}/{second['source_key'][:12]}  digest {second['digest'][:12]}",
    ]
    found = document["differences"]
    lines += [f"  {one['where']}: {_text(one['first'])} → {_text(one['second'])}" for one in found[:_MOST]]
    if len(found) > _MOST:
        lines.append(f"  … and {plural(len(found) - _MOST, 'more difference')} (all of them with --json)")
    if document["equal"]:
        return [*lines, "  the samples are equal"]
    if not found:
        lines.append("  the transforms and the sources are equal")
    samples = document["samples"]
    if samples is None:
        return [*lines, "  the samples are not compared: it is not known which recordings are the same"]
    lines.append(
        f"  recordings in both: {samples['recordings']:,}; only in the first: {samples['only_first']:,}; only in the "
        f"second: {samples['only_second']:,}"
    )
    if samples["equal"] is None:
        lines.append("  the frames of the two sets have different axes or sizes")
    else:
        lines.append(f"  with equal frames: {samples['equal']:,}")
    if samples["other_labels"]:
        lines.append(f"  with another label: {samples['other_labels']:,}")
    for name in samples["first"]:
        one, other = samples["first"][name], samples["second"][name]
        lines.append(f"  {_NAMES[name]}: {_number(one)} → {_number(other)}{_change(one, other)}")
    return lines


_NAMES = {
    "non_zeros": "non-zeros",
    "counts": "sum of values",
    "bins": "time bins",
    "skipped": "skipped recordings",
}


def _number(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.6g}"


def _change(one: float, other: float) -> str:
    return f" ({(other - one) / one:+.1%})" if one and one != other else ""


def _text(value: Any) -> str:
    if value is None:
        return "none"
    text = (
        ", ".join(f"{name}={item}" for name, item in value.items()) if isinstance(value, dict) else str(value)
    )
    return text if len(text) <= 120 else f"{text[:117]}…"
