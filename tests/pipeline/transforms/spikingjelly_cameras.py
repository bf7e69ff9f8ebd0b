"""SpikingJelly's reading of original ``.aedat`` files: ``python -m …spikingjelly_cameras FOLDER BINS FRAMES.npz``.

FOLDER has the files of CIFAR10-DVS in ``cifar10dvs`` and those of DVS128 Gesture in ``dvsgesture``, as their archives do. FRAMES.npz gets the frames of each
recording by the path of SpikingJelly's file of events.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from benchmarks.peers.spikingjelly_frames import leave_out_vision


def main(folder: str, bins: str, frames: str) -> None:
    """Let SpikingJelly's classes convert the files to events, and integrate these by number."""
    leave_out_vision()
    from spikingjelly.datasets import cifar10_dvs, dvs128_gesture, utils

    root, integrated = Path(folder), {}
    for name, kind in (("cifar10dvs", cifar10_dvs.CIFAR10DVS), ("dvsgesture", dvs128_gesture.DVS128Gesture)):
        raw = root / f"{name}_events"
        raw.mkdir()
        kind.create_raw_from_extracted(root / name, raw)
        for path in sorted(raw.rglob("*.npz")):
            integrated[f"{name}/{path.relative_to(raw).as_posix()}"] = (
                utils.integrate_events_by_fixed_frames_number(
                    dict(np.load(path)), "number", int(bins), *kind.get_H_W()
                )
            )
    np.savez(frames, **integrated)


if __name__ == "__main__":
    main(*sys.argv[1:])
