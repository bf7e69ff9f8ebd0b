"""The order of a streamed epoch: runs shuffled, then samples shuffled within a window. A pure function.

1. The rows are cut into *runs* of whole blocks of 64 (the unit that is checked), none over the edge of a fragment.
2. The runs are shuffled and dealt to *lanes*, 64 of them where the set and the window allow.
3. In each lane, the samples of every few runs are shuffled; its first run by itself, so that an epoch can begin early.
4. The lanes are merged evenly, one after the other *delayed* a little: sample j of a lane of n stands at
   j + 1/2 + delay, where n is the mean of all lanes (longer ones are denser).

So each batch has samples of all lanes, but for the first and the last few, and at any time samples are drawn from
*lanes × runs together × rows of a run* rows at most: the window. The delays let an epoch begin when a quarter of the lanes
have been read, and lanes come to their next runs one after the other. Ranks own lanes, so that no rank reads another's
runs; the order itself knows nothing of ranks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spikestore.store import FeatureSet
from spikestore.store_schemas.layout import BLOCK
from spikestore.train.data.epoch_order import epoch_order, random_keys
from spikestore.train.data.packed import packed_bytes

LANES = 64
WINDOW_SAMPLES = 8192
WINDOW_BYTES = 256 * 2**20
"""The default window is the smaller of the two."""
_MOST_RUN_ROWS = 8 * BLOCK
"""Longer runs read hardly faster, and mix worse."""
_GOLDEN = (5**0.5 - 1) / 2

_Int64s = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class RunCut:
    """How a set is cut into runs and lanes; depends on the set, the subset and the window.

    Attributes
    ----------
    starts, stops : int64 arrays, shape (runs,)
        Rows of each run.
    run_rows : int
        Rows of the longest run.
    lanes : int
        Number of lanes.
    together : int
        Runs of a lane that are shuffled together.
    """

    starts: _Int64s
    stops: _Int64s
    run_rows: int
    lanes: int
    together: int

    @property
    def name(self) -> str:
        """Tells orders apart."""
        return f"delayed {self.run_rows}x{self.lanes}x{self.together}"


@dataclass(frozen=True, eq=False)
class LaneOrder:
    """An epoch.

    Attributes
    ----------
    rows, lanes : int64 arrays, shape (samples,)
        Row of the feature set, and lane, of each sample in order.
    """

    rows: _Int64s
    lanes: _Int64s


def sample_bytes(features: FeatureSet) -> float:
    """Return the mean bytes of a sample in packed columns."""
    return packed_bytes(features) / len(features)


def cut_runs(features: FeatureSet, rows: _Int64s, window: int | None) -> RunCut:
    """Cut a set for streaming.

    Parameters
    ----------
    features : FeatureSet
        The set.
    rows : int64 array
        Rows that are used, ascending; runs without any are left out.
    window : int, optional
        Samples among which to shuffle, at most; by default `WINDOW_SAMPLES`, or as many as `WINDOW_BYTES` hold. At least
        one block of 64.
    """
    if window is None:
        window = min(WINDOW_SAMPLES, int(WINDOW_BYTES / sample_bytes(features)))
    window = max(window, BLOCK)
    run_rows = min(max(window // LANES // BLOCK, 1) * BLOCK, _MOST_RUN_ROWS)
    size = features.manifest.fragment_samples
    # A run begins at every run_rows-th row of each fragment.
    in_fragment = np.arange(0, size, run_rows)
    fragments = np.arange(len(features.manifest.fragments)) * size
    starts = (fragments[:, None] + in_fragment[None, :]).ravel()
    starts = starts[starts < len(features)]
    stops = np.append(starts[1:], len(features))
    used = np.diff(np.searchsorted(rows, np.append(starts, len(features)))) > 0
    lanes = max(1, min(LANES, window // run_rows, int(used.sum())))
    return RunCut(starts[used], stops[used], run_rows, lanes, max(1, window // (run_rows * lanes)))


def lane_order(cut: RunCut, rows: _Int64s, *, seed: int, epoch: int, digest: str) -> LaneOrder:
    """Return the order of an epoch.

    Parameters
    ----------
    cut : RunCut
        From `cut_runs`, with the same rows.
    rows : int64 array, shape (samples,)
        Rows that are used, ascending.
    seed, epoch : int
        Any integers; every pair gives another order.
    digest : str
        Digest of the feature set.
    """
    runs = len(cut.starts)
    turn = np.empty(runs, np.int64)
    turn[epoch_order(runs, seed=seed, epoch=epoch, digest=f"runs:{digest}")] = np.arange(runs)
    run_of_row = covering(cut.starts, rows)
    lane, place = (turn % cut.lanes)[run_of_row], (turn // cut.lanes)[run_of_row]
    group = (place + cut.together - 1) // cut.together
    keys = random_keys(rows, f"window:{digest}:{seed}:{epoch}")
    by_lane = np.lexsort((keys, group, lane))
    sizes = np.bincount(lane, minlength=cut.lanes)
    ordered = lane[by_lane]
    number = np.arange(len(rows)) - (np.cumsum(sizes) - sizes)[ordered]
    mean = len(rows) / cut.lanes
    at = (number + 0.5) * (mean / sizes[ordered]) + _delays(cut, mean)[ordered]
    merged = by_lane[np.argsort(at, kind="stable")]
    return LaneOrder(rows[merged], lane[merged])


def _delays(cut: RunCut, mean: float) -> npt.NDArray[np.float64]:
    """Return how many samples later each lane begins, shape (lanes,): evenly spread, over any ranks' lanes too."""
    turns = np.arange(cut.lanes) * _GOLDEN % 1  # any stretch of these is spread about evenly
    return np.asarray(turns * min(cut.run_rows / 2, mean / 4), np.float64)


def covering(starts: _Int64s, rows: _Int64s) -> _Int64s:
    """Return, for each row, the number of the run that holds it; `starts` ascends."""
    return np.searchsorted(starts, rows, side="right") - 1


def owned(lanes: _Int64s, count: int, rank: int, ranks: int) -> npt.NDArray[np.bool_]:
    """Tell which samples belong to a rank: it owns lanes r·L/R to (r + 1)·L/R of all L = `count`."""
    return (lanes >= count * rank // ranks) & (lanes < count * (rank + 1) // ranks)
