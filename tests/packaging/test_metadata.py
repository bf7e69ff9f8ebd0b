"""What a release states about itself: one version, and a citation in the form of CITATION.cff 1.2.0.

cffconvert, which checks this form, needs packages that Python 3.12 no longer installs; so the required fields are listed here.
"""

from __future__ import annotations

import importlib.metadata
import re
import tomllib
from pathlib import Path

import yaml
from tests.packaging.clean_installs import IMPORTED

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


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
