"""Odd files and folders in or beside the places of a store's objects, which no version of spikestore writes.

``ODD`` has one function for each: it adds the odd object to a copy of the store of `tests.store.damage.make_store`, and returns
the object's path.
"""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.store.damage import NAME, SMALL

Spoil = Callable[[Path], str]

KEY = "ab" * 32
TRANSFORM = f"features/{SMALL.address.transform_key}"
SET = SMALL.address.folder
BUILD = SMALL.address.build(SMALL.plan().hash[:12])

FOLDERS = {
    "features": "features",
    "transform": TRANSFORM,
    "set": SET,
    "builds": f"{SET}/builds",
    "build": BUILD,
    "records": f"{BUILD}/records",
    "chunks": f"{BUILD}/data.zarr/index/c",
    "refs": "refs",
    "ref": f"refs/{NAME}",
}
OBJECTS = {
    "manifest": SMALL.address.manifest,
    "plan": SMALL.address.plan,
    "record": f"{BUILD}/records/00000.json",
    "metadata": f"{BUILD}/data.zarr/index/zarr.json",
    "chunk": f"{BUILD}/data.zarr/index/c/0",
    "entry": f"refs/{NAME}/00000001.json",
}


def _bind(place: Path) -> None:
    here = Path.cwd()
    os.chdir(place.parent)  # the path of a socket has 107 bytes at most
    try:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(place.name)
    finally:
        os.chdir(here)


def _full(place: Path) -> None:
    place.mkdir()
    (place / "x").touch()


MAKERS: dict[str, Callable[[Path], object]] = {
    "file": Path.touch,
    "empty folder": Path.mkdir,
    "full folder": _full,
    "pipe": os.mkfifo,
    "socket": _bind,
    "loop": lambda place: place.symlink_to(place.name),
    "dead link": lambda place: place.symlink_to("nowhere"),
}
"""Files and folders of other kinds, which can take the place of an object or a folder."""


def instead(path: str, make: Callable[[Path], object], root: Path) -> str:
    """Replace an object or a folder by a file or folder of another kind."""
    place = root / path
    if place.is_dir():
        shutil.rmtree(place)
    else:
        place.unlink()
    make(place)
    return path


def beside(folder: str, name: bytes, make: Callable[[Path], object], root: Path) -> str:
    """Put something into a folder."""
    place = root / folder / os.fsdecode(name)
    make(place)
    return f"{folder}/{place.name}"


def dated(path: str, seconds: int, root: Path) -> str:
    """Give an object a time, in seconds since 1970."""
    os.utime(root / path, (seconds, seconds))
    return path


NAMES = {"bytes": b"\xff\xfe.json", "line end": b"a\nb.json", "key": KEY.encode(), "entry": b"00000002.json"}
TIMES = {"before year 1": -(10**11), "1960": -(10**9) // 3, "after year 9999": 10**12}

IN_PLACE: dict[str, Spoil] = {
    f"{kind} as {what}": partial(instead, path, make)
    for what, path in {**OBJECTS, **FOLDERS}.items()
    for kind, make in MAKERS.items()
    if (kind != "file" or what in FOLDERS) and ("folder" not in kind or what in OBJECTS)
}
BESIDE: dict[str, Spoil] = {
    f"{kind} called {called} in {where}": partial(beside, folder, name, MAKERS[kind])
    for where, folder in FOLDERS.items()
    for called, name in NAMES.items()
    for kind in ("file", "full folder", "pipe", "loop")
    if not (
        kind == "full folder" and called == "key" and where in {"features", "transform"}
    )  # an empty set has such a folder
}
DATED: dict[str, Spoil] = {
    f"{what} of {when}": partial(dated, path, seconds)
    for what, path in OBJECTS.items()
    for when, seconds in TIMES.items()
}
ODD: dict[str, Spoil] = {**IN_PLACE, **BESIDE, **DATED}
