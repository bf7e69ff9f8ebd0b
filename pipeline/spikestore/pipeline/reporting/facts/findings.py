"""Sentences about what a user should look at first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from spikestore.store_schemas.wording import plural

LOST_SHARE = 0.05
"""If more than this share of events is cropped, or more than this share is in no bin, a sentence is written."""

UNEVEN = 3.0
"""If the largest class of a split has more than this many times as many samples as its smallest class with samples, a sentence is written."""


def findings(document: Mapping[str, Any]) -> list[str]:
    """Return one sentence for each fact of a report that may be a problem; an empty list if there is no such fact."""
    return [*_samples(document), *_events(document), *_splits(document)]


def _samples(document: Mapping[str, Any]) -> Iterator[str]:
    skipped = document["skipped"]["count"]
    if skipped:
        yield f"{plural(skipped, 'recording')} could not be transformed: see the reasons under Skipped recordings."
    for split, lost in document["losses"].items():
        if lost["empty_samples"]:
            yield f"{split}: {plural(lost['empty_samples'], 'sample')} without an event in any bin."
    counts: dict[str, list[int]] = {}
    for row in document["classes"]:
        counts.setdefault(row["split"], []).append(row["samples"])
    for split, samples in counts.items():
        if 0 in samples:
            yield f"{split}: {samples.count(0):,} of {plural(len(samples), 'class')} without a sample."
        present = [number for number in samples if number]
        if present and max(present) > UNEVEN * min(present):
            yield f"{split}: the largest class has {plural(max(present), 'sample')}, the smallest {min(present):,}."


def _events(document: Mapping[str, Any]) -> Iterator[str]:
    for split, lost in document["losses"].items():
        for part, words in (("cropped", "cropped"), ("in_no_bin", "in no time bin")):
            if lost["read"] and lost[part] > LOST_SHARE * lost["read"]:
                yield f"{split}: {lost[part] / lost['read']:.0%} of the events are {words}."
        if lost["clipped"]:
            yield f"{split}: clip_counts removed {plural(lost['clipped'], 'event')}."
    sites = document["sites"]
    what = "pixel" if "y" in sites["axes"] else "channel"
    event, events = ("event", "events") if document["real_numbers"] is None else ("value", "sum")
    if sites["silent"]:
        yield f"{plural(sites['silent'], what)} without any {event}."
    if sites["hot"]:
        yield f"{plural(sites['hot'], what)} with more than {sites['hot_means_times_the_median']:g} times the {events} of the median {what}."


def _splits(document: Mapping[str, Any]) -> Iterator[str]:
    equal = document["duplicates"]
    for pair in equal["across"]:
        if pair["samples"]:
            yield f"{plural(pair['samples'], 'sample')} of {pair['second']} {'has' if pair['samples'] == 1 else 'have'} the same frames as a sample of {pair['first']}."
    for split, samples in equal["within"].items():
        if samples:
            yield f"{split}: {plural(samples, 'sample')} {'has' if samples == 1 else 'have'} the same frames as an earlier sample."
    if equal["other_class"]:
        yield f"{plural(equal['other_class'], 'group')} of equal samples with several classes."
    groups = document["groups"]
    if groups is not None and groups["shared"]:
        yield f"{plural(groups['shared'], groups['column'])} in more than one split."
