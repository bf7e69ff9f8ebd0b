"""The order of a streamed epoch, as a pure function: spans of rows are shuffled, then samples within a window.

1. The rows are divided into *spans*: consecutive rows in whole blocks of 64 (the unit of checks), all in one fragment.
2. The spans are shuffled and distributed over *lanes*. There are 64 lanes, or fewer if the set or the window is small.
3. Each lane is divided into groups of a few spans, and the samples of each group are shuffled. The first group is a single
   span, so that an epoch can start early.
4. The lanes are merged: each sample gets a position, and samples are sorted by position. Each lane has a *delay*. In a
   lane of mean length, sample j has the position j + 1/2 + delay. The samples of a longer lane are closer together, and
   the samples of a shorter lane are farther apart. So the samples of every lane cover an equally long range of
   positions.

As a result, a batch with at least twice as many samples as there are lanes has samples of all lanes, except of lanes
with less than half of the average number of samples. A smaller batch has at most a few samples of the same lane. The
first and last few batches have samples of fewer lanes. The window is the number of rows among which the next sample is
chosen: at most *lanes × spans of a group × rows of a span*. Because of the delays, an epoch can start when the first
spans of a quarter of the lanes have been read, and the lanes do not all need their next spans at the same time. Each rank owns some lanes, so no rank reads the spans of another rank. The order
itself does not depend on ranks.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spikestore.store import FeatureSet
from spikestore.store.columns.packed_size import default_window, packed_bytes
from spikestore.store_schemas.layout import BLOCK
from spikestore.train.data.epoch_order import EpochSamples, RankShare, epoch_order
from spikestore.train.data.splitmix import random_keys

LANES = 64
_MOST_SPAN_ROWS = 8 * BLOCK
"""Maximum number of rows of a span: longer spans are read hardly faster and are shuffled less well."""
_GOLDEN = (5**0.5 - 1) / 2

_Int64s = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class SpanCut:
    """Division of the rows of a set into spans (consecutive rows), and number of lanes; the docstring of the module defines both.

    The division depends on the set, the subset and the shuffle window.

    Attributes
    ----------
    starts, stops : int64 arrays, shape (spans,)
        First row of each span, and the row after its last one.
    span_rows : int
        Maximum number of rows of a span.
    lanes : int
        Number of lanes.
    together : int
        Number of spans of a group: spans of a lane whose samples are shuffled together.
    fragment_samples : int
        Number of rows of a fragment; no span crosses the edge of a fragment.
    """

    starts: _Int64s
    stops: _Int64s
    span_rows: int
    lanes: int
    together: int
    fragment_samples: int

    @property
    def name(self) -> str:
        """Text from which `named_spans` makes this division into spans and lanes again, for the same set and subset."""
        return f"delayed {self.span_rows}x{self.lanes}x{self.together} of {self.fragment_samples}"


@dataclass(frozen=True, eq=False)
class LaneOrder:
    """The order of one epoch.

    Attributes
    ----------
    rows, lanes : int64 arrays, shape (samples,)
        For each sample in the order of the epoch: the number of its row in the feature set, and its lane (sequence of spans).
    """

    rows: _Int64s
    lanes: _Int64s


def sample_bytes(features: FeatureSet) -> float:
    """Return the mean size of a sample in packed columns, in bytes."""
    return packed_bytes(features.manifest) / len(features)


def cut_spans(features: FeatureSet, rows: _Int64s, window: int | None) -> SpanCut:
    """Divide the rows of a set into spans, and choose the number of lanes. A span is read as a whole; an epoch merges the lanes (see the module).

    Parameters
    ----------
    features : FeatureSet
        The set.
    rows : int64 array
        Rows in use, ascending; spans that contain none of these rows are left out.
    window : int, optional
        Maximum number of samples that are shuffled among each other, which limits the size of spans and the number of lanes; by
        default `default_window`. A window below 64 (one block) becomes 64.
    """
    if window is None:
        window = default_window(features.manifest)
    window = max(window, BLOCK)
    span_rows = min(max(window // LANES // BLOCK, 1) * BLOCK, _MOST_SPAN_ROWS)
    size = features.manifest.fragment_samples
    starts, stops = _used_spans(len(features), rows, span_rows, size)
    lanes = max(1, min(LANES, window // span_rows, len(starts)))
    return SpanCut(starts, stops, span_rows, lanes, max(1, window // (span_rows * lanes)), size)


_NAME = re.compile(r"delayed (\d{1,9})x(\d{1,9})x(\d{1,9})(?: of (\d{1,9}))?")


def named_spans(samples: int, fragment_samples: int, rows: _Int64s, name: str) -> SpanCut | None:
    """Return the division that `name` describes: the spans (runs of rows) of a set and the lanes (sequences of spans). None if `name` describes no division.

    A name contains the size of the set's fragments at the time when the name was made; their present size may differ. Names made by
    version 0.1.0.dev0 do not contain this size; for them, the present size is used.

    Parameters
    ----------
    samples, fragment_samples : int
        Rows of the set, and of one of its fragments.
    rows : int64 array
        Rows in use, ascending.
    name : str
        A value of `SpanCut.name`.
    """
    numbers = _NAME.fullmatch(name)
    if numbers is None:
        return None
    span_rows, lanes, together = (int(number) for number in numbers.groups()[:3])
    size = int(numbers[4] or fragment_samples)
    if not (span_rows and lanes and together and size) or span_rows % BLOCK or size % BLOCK or lanes > LANES:
        return None
    starts, stops = _used_spans(samples, rows, span_rows, size)
    return SpanCut(starts, stops, span_rows, lanes, together, size)


def _used_spans(samples: int, rows: _Int64s, span_rows: int, size: int) -> tuple[_Int64s, _Int64s]:
    """Return start and stop of each span that contains one of `rows`.

    The set has `samples` rows in fragments of `size` rows. Each fragment is divided into spans of `span_rows` rows; its last span may
    be shorter.
    """
    in_fragment = np.arange(0, size, span_rows)
    fragments = np.arange(-(-samples // size)) * size
    starts = (fragments[:, None] + in_fragment[None, :]).ravel()
    starts = starts[starts < samples]
    stops = np.append(starts[1:], samples)
    used = np.diff(np.searchsorted(rows, np.append(starts, samples))) > 0
    return starts[used], stops[used]


def lane_order(cut: SpanCut, samples: EpochSamples, epoch: int) -> LaneOrder:
    """Return the order of the samples in an epoch; `cut` is the result of `cut_spans` for the rows of `samples`."""
    rows, seed, digest = samples.rows, samples.seed, samples.digest
    spans = len(cut.starts)
    turn = np.empty(spans, np.int64)
    turn[epoch_order(spans, seed=seed, epoch=epoch, digest=f"runs:{digest}")] = np.arange(spans)
    span_of_row = covering(cut.starts, rows)
    lane, span_in_lane = (turn % cut.lanes)[span_of_row], (turn // cut.lanes)[span_of_row]
    group = (span_in_lane + cut.together - 1) // cut.together
    keys = random_keys(rows, f"window:{digest}:{seed}:{epoch}")
    place = lane * (group.max(initial=0) + 1) + group
    # Rows have different keys, so any method of sorting gives the same order.
    by_key = np.argsort(keys)
    # NumPy sorts numbers of 16 bits much faster than larger ones.
    places = place.astype(np.min_scalar_type(place.max(initial=0)))[by_key]
    by_lane = by_key[np.argsort(places, kind="stable")]
    sizes = np.bincount(lane, minlength=cut.lanes)
    ordered = lane[by_lane]
    number = np.arange(len(rows)) - (np.cumsum(sizes) - sizes)[ordered]
    mean = len(rows) / cut.lanes
    merge_position = (number + 0.5) * (mean / sizes[ordered]) + _delays(cut, mean)[ordered]
    merged = by_lane[_stable_order(merge_position)]
    return LaneOrder(rows[merged], lane[merged])


def _stable_order(values: npt.NDArray[np.float64]) -> _Int64s:
    """Return ``np.argsort(values, kind="stable")``; if no two values are equal, a faster method is used."""
    order = np.argsort(values)
    ascending = values[order]
    return np.argsort(values, kind="stable") if np.any(ascending[1:] == ascending[:-1]) else order


def _delays(cut: SpanCut, mean: float) -> npt.NDArray[np.float64]:
    """Return by how many positions of the epoch's order each lane (sequence of spans) is delayed: shape (lanes,).

    The module's docstring explains delays. The delays of each rank's lanes are spread evenly. `mean` is the mean number of samples of a
    lane.
    """
    turns = np.arange(cut.lanes) * _GOLDEN % 1  # any part of this sequence is spread about evenly
    return np.asarray(turns * min(cut.span_rows / 2, mean / 4), np.float64)


def covering(starts: _Int64s, rows: _Int64s) -> _Int64s:
    """Return, for each row, the number of the span that contains this row; `starts` has the ascending starts of the spans."""
    return np.searchsorted(starts, rows, side="right") - 1


def owned(lanes: _Int64s, count: int, share: RankShare) -> npt.NDArray[np.bool_]:
    """Return a mask, shape (samples,): whether this rank reads the lane (sequence of spans) of each sample. `count` is the number of lanes."""
    mine = share.of(count)
    return np.asarray((lanes >= mine.start) & (lanes < mine.stop))


class WindowOrder:
    """Order that shuffles spans (consecutive rows that are read as a whole), then samples within a window; see the module.

    Parameters
    ----------
    samples : EpochSamples
        Rows in use, and the seed.
    cut : SpanCut
        Division of the rows of `samples` into spans.
    fragment_samples : int
        Number of rows of a fragment of the set.

    Attributes
    ----------
    scattered : bool
        Whether the cut was made for fragments of another size. A span may then be in two fragments, so spans can't be read one by one.
    """

    def __init__(self, samples: EpochSamples, cut: SpanCut, *, fragment_samples: int) -> None:
        self.name = cut.name
        self.cut = cut
        self.scattered = cut.fragment_samples != fragment_samples
        self._samples = samples

    def batches(self, epoch: int, first: int, batch_size: int, share: RankShare) -> tuple[_Int64s, _Int64s]:
        """Return the rows of a rank, and the edges of its batches in these rows; see `BatchOrder.batches`."""
        order = lane_order(self.cut, self._samples, epoch)
        rows, lanes = order.rows[first * batch_size :], order.lanes[first * batch_size :]
        mine = np.flatnonzero(owned(lanes, self.cut.lanes, share))
        batches = -(-len(rows) // batch_size)
        edges = np.searchsorted(mine, np.arange(batches + 1) * batch_size)
        return rows[mine], edges
