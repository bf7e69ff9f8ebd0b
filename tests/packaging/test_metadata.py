"""What a release states about itself: one version, and a citation in the form of CITATION.cff 1.2.0.

cffconvert, which checks this form, needs packages that Python 3.12 no longer installs; so the required fields are listed here.
"""

from __future__ import annotations

import fnmatch
import importlib.metadata
import re
import tomllib
from pathlib import Path

import yaml
from packaging.specifiers import SpecifierSet
from tests.packaging.clean_installs import CONSTRAINTS, IMPORTED

ROOT = Path(__file__).parents[2]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = SETTINGS["project"]


def test_the_citation_has_the_required_fields() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert set(citation) == {
        "cff-version",
        "message",
        "title",
        "type",
        "authors",
        "abstract",
        "keywords",
        "license",
    }
    assert citation["cff-version"] == "1.2.0"
    assert citation["type"] == "software"
    assert citation["license"] == PROJECT["license"]
    assert all(set(author) == {"name"} for author in citation["authors"])
    texts = [citation["message"], citation["title"], citation["abstract"], *citation["keywords"]]
    assert all(isinstance(text, str) and text for text in texts)


def test_the_version_is_stated_once() -> None:
    """pyproject.toml states it; code reads the metadata of the installed package, and the citation leaves it out."""
    assert importlib.metadata.version("spikestore") == PROJECT["version"]
    quoted = re.compile(rf"""["']{re.escape(PROJECT["version"])}["']""")
    portions = ("store_schemas", "store", "pipeline", "train")
    files = [path for portion in portions for path in (ROOT / portion).rglob("*.py")]
    assert [path for path in files if quoted.search(path.read_text(encoding="utf-8"))] == []


def test_clean_installs_try_every_extra() -> None:
    """Every extra is tried, except exodus, which is built on the machine, and two that are for a checkout."""
    tried = {extra for extras in IMPORTED for extra in extras.split(",")}
    assert tried - {"base"} == set(PROJECT["optional-dependencies"]) - {"exodus", "dev", "docs"}


def test_pinned_versions_install_on_the_oldest_python() -> None:
    """Debian 12 has Python 3.11.2, and some packages refuse releases before 3.11.5: then `make docs` could not install them."""
    oldest = PROJECT["requires-python"].removeprefix(">=") + ".0"
    refused = {}
    for name, version in re.findall(r"(?m)^([\w.-]+)==([\w.]+)", CONSTRAINTS.read_text(encoding="utf-8")):
        for package in importlib.metadata.distributions(name=name):
            needed = str(package.metadata.json.get("requires_python", ""))  # "" allows every Python
            if package.version == version and not SpecifierSet(needed).contains(oldest):
                refused[name] = needed
    assert refused == {}


def test_doctests_do_not_import_triton() -> None:
    """`make test` runs without Triton, so pytest must not collect modules that import it; CI, which has Triton, would not notice."""
    given = SETTINGS["tool"]["pytest"]["ini_options"]["addopts"]
    ignored = [
        str(ROOT / option.partition("=")[2]) for option in given if option.startswith("--ignore-glob=")
    ]
    modules = [
        path
        for path in (ROOT / "train").rglob("*.py")
        if "\nimport triton" in path.read_text(encoding="utf-8")
    ]
    assert modules
    assert [path for path in modules if not any(fnmatch.fnmatch(str(path), glob) for glob in ignored)] == []


def test_pages_name_the_systems_of_the_package() -> None:
    """The package's classifiers, the pages on installing and the table of guarantees state the same systems."""
    systems = {
        entry.rpartition(" :: ")[2]
        for entry in PROJECT["classifiers"]
        if entry.startswith("Operating System")
    }
    assert systems == {"Linux", "MacOS"}
    for page in ("README.md", "docs/index.md", "docs/tutorial.md"):
        text = (ROOT / page).read_text(encoding="utf-8")
        assert "You need Linux or macOS" in text, page
        assert "Windows" not in text, page
    table = (
        (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8").partition("## Operating systems\n")[2]
    )
    rows = dict(re.findall(r"^\| (Linux|macOS|Windows) \| (yes|no) \|", table, re.MULTILINE))
    assert rows == {"Linux": "yes", "macOS": "yes", "Windows": "no"}
    assert {name.lower() for name, answer in rows.items() if answer == "yes"} == {*map(str.lower, systems)}
