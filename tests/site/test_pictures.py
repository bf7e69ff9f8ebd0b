"""Each operation and each augmentation has a picture on a page, drawn by today's code."""

from __future__ import annotations

import re

import pytest
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
