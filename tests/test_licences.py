"""``docs/licences.md`` lists the licence of every package that an installation brings, as its metadata state it.

``python -m tests.test_licences`` writes the table's rows for the packages that are installed here.
"""

from __future__ import annotations

import importlib.metadata
import re
import sys
from pathlib import Path

from packaging.requirements import Requirement

PAGE = Path(__file__).parents[1] / "docs/licences.md"
EXTRAS = ("", "pipeline", "train", "formats", "plots", "report", "tonic")
_ROW = re.compile(r"^\| ([a-z0-9-]+) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)
_COPYLEFT = re.compile(r"GPL")
_STATED = (
    # How metadata name a licence before SPDX expressions came: classifiers first, then free text.
    (r"GNU General Public License v3|GPL-3\.0-only", "GPL-3.0-only"),
    (r"Mozilla Public License 2\.0|^MPL-2\.0$", "MPL-2.0"),
    (r"^MPL-2\.0 AND MIT$", "MPL-2.0 AND MIT"),
    (r"Apache", "Apache-2.0"),
    (r"Python Software Foundation", "PSF-2.0"),
    (r"ISC", "ISC"),
    (r"BSD-2-Clause|BSD 2-Clause", "BSD-2-Clause"),
    (r"BSD", "BSD-3-Clause"),
    (r"MIT", "MIT"),
)
_OF_NVIDIA = ("nvidia-", "cuda-")
_FROM_THEIR_TEXT = {"aedat": "MIT", "importrosbag": "GPL-3.0-or-later", "expelliarmus": "GPL-2.0-only"}
"""Packages whose metadata say less than the licence text that they ship."""


def name_of(text: str) -> str:
    """Return a package's name in the form in which package indexes compare names."""
    return re.sub(r"[-_.]+", "-", text).lower()


def installed(*roots: str) -> dict[str, importlib.metadata.Distribution]:
    """Return the installed packages that these requirements bring, directly or not."""
    found: dict[str, importlib.metadata.Distribution] = {}
    waiting, seen = [Requirement(root) for root in roots], set()
    while waiting:
        requirement = waiting.pop()
        key = (name_of(requirement.name), *sorted(requirement.extras))
        if key in seen:
            continue
        seen.add(key)
        try:
            distribution = importlib.metadata.distribution(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            continue
        found[key[0]] = distribution
        for text in distribution.requires or []:
            needed = Requirement(text)
            if needed.marker is None or any(
                needed.marker.evaluate({"extra": extra}) for extra in ("", *requirement.extras)
            ):
                waiting.append(needed)
    found.pop("spikestore", None)
    return found


def licence_of(distribution: importlib.metadata.Distribution) -> str:
    """Return the licence that a package's metadata state, as an SPDX expression."""
    metadata, name = distribution.metadata, name_of(distribution.metadata["Name"])
    if name in _FROM_THEIR_TEXT:
        return _FROM_THEIR_TEXT[name]
    if expression := metadata.json.get("license_expression"):
        return str(expression)
    text = str(metadata.json.get("license", ""))
    stated = [
        *([text] if len(text) < 60 else []),
        *(one for one in metadata.get_all("Classifier", []) if one.startswith("License ::")),
    ]
    for pattern, licence in _STATED:
        if any(re.search(pattern, one) for one in stated):
            return licence
    raise AssertionError(f"{name} states no licence: look into its files, and say it here")


def brought_by() -> dict[str, str]:
    """Return, for each installed package, the first extra of `EXTRAS` that brings it; ``tonic`` means ``pip install tonic importRosbag``."""
    found: dict[str, str] = {}
    for extra in EXTRAS:
        roots = (
            ["tonic", "importRosbag"]
            if extra == "tonic"
            else [f"spikestore[{extra}]" if extra else "spikestore"]
        )
        for name in installed(*roots):
            found.setdefault(name, extra or "always")
    return found


def test_every_package_is_listed_with_its_licence() -> None:
    listed = {name: licence for name, licence, _ in _ROW.findall(PAGE.read_text(encoding="utf-8"))}
    for name in brought_by():
        if not name.startswith(_OF_NVIDIA):
            licence = licence_of(importlib.metadata.distribution(name))
            assert listed.get(name) == licence, (
                f"{name}: python -m tests.test_licences writes the rows of {PAGE}"
            )


def test_only_tonic_brings_copyleft() -> None:
    """Only Tonic and the packages that it installs have copyleft licences; all others can be distributed with notices alone.

    NVIDIA's packages, which CUDA builds of torch install, have their own terms, and some state none in their metadata.
    """
    for name, extra in brought_by().items():
        if name.startswith(_OF_NVIDIA):
            continue
        if _COPYLEFT.search(licence_of(importlib.metadata.distribution(name))):
            assert extra == "tonic", name


def main() -> None:
    """Write the rows."""
    for name, extra in sorted(brought_by().items()):
        sys.stdout.write(f"| {name} | {licence_of(importlib.metadata.distribution(name))} | {extra} |\n")


if __name__ == "__main__":
    main()
