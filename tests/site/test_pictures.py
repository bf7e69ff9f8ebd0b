"""Each operation and each augmentation has a picture on a page, drawn by today's code."""

from __future__ import annotations

import re

import pytest
from tests.site.panels import Panel, picture
from tests.site.pictures import FOLDER, pictures

from spikestore.store_schemas.specs.operations import OPERATIONS
from spikestore.train.data.augmentation.tables import OPERATIONS as AUGMENTATIONS


@pytest.mark.parametrize(("page", "names"), [("recipes.md", OPERATIONS), ("loading.md", AUGMENTATIONS)])
def test_each_has_a_picture_on_its_page(page: str, names: frozenset[str]) -> None:
    text = (FOLDER.parent / page).read_text(encoding="utf-8")
    shown = re.findall(r"^!\[(\w+): .{10,}\]\(pictures/(\w+)\.svg\)$", text, re.MULTILINE)
    assert sorted(shown) == sorted((name, name) for name in names)


def test_pictures_are_those_of_the_code() -> None:
    files = {path.stem: path.read_text(encoding="utf-8") for path in FOLDER.iterdir()}
    assert files == pictures(), "python -m tests.site.pictures draws them"
    assert max(map(len, files.values())) < 25_000
    assert sum(map(len, files.values())) < 700_000


def test_a_panel_with_its_own_scale_has_the_full_colour() -> None:
    """Numbers of bits are at most 1: on the scale of counts up to 3, all of them would be pale."""
    before = Panel("8 time bins", "x", (2, 1), counts=((0, 0, 1, 3.0),))
    after = Panel("2 time bins", "x", (2, 1), counts=((0, 0, 1, 0.8), (1, 0, 1, 0.2)), has_own_scale=True)
    opacities = re.findall('fill-opacity="([^"]+)"', picture("a", "b", (before, after), "→"))
    assert opacities == ["1.0", "0.51", "1.0"]
    (last,) = re.findall(r"(?s)2 time bins</text>(.*)", pictures()["to_bina_rep"])
    assert 'fill-opacity="1.0"' in last
