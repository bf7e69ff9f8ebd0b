"""Comparison of the source of a locked set with ``[source.folder]`` of a recipe, if the recordings are missing."""

from __future__ import annotations

from spikestore.pipeline.readers.folder.listing import DEFAULT_SPLIT
from spikestore.pipeline.readers.folder.pattern import Pattern
from spikestore.pipeline.readers.folder.settings import FolderSettings
from spikestore.pipeline.readers.folder.splits import split_of
from spikestore.store_schemas.specs.folder import FolderContent
from spikestore.store_schemas.specs.source import Source


def difference_of_folder(source: Source, settings: FolderSettings) -> str | None:
    """Return the first difference between the source of a locked set and ``[source.folder]`` of a recipe, for messages.

    None if there is no difference, or if `source` is not of the data set ``folder``. Values from the CSV file
    ``table`` are not compared, because this file is in the folder that is missing.
    """
    content = source.folder
    if content is None:
        return None
    decoding, formats = content.decoding, tuple(sorted(content.decoding.formats))
    pairs = {
        "fields": (decoding.order, settings.fields),
        "names": (decoding.names, settings.names),
        "time_unit": (decoding.time_unit, settings.time_unit),
        "offset": (decoding.offset, settings.offset),
        "clock_bits": (decoding.clock_bits, settings.clock_bits),
        "classes": (content.classes, settings.classes or content.classes),
        "formats": (
            formats,
            formats if not settings.formats or {*formats} <= {*settings.formats} else settings.formats,
        ),
    }
    for field, (locked, requested) in pairs.items():
        if locked != requested:
            return f"{field} = {locked!r} under [source.folder], but the recipe has {requested!r}"
    return _difference_of_files(source, content, settings)


def _difference_of_files(source: Source, content: FolderContent, settings: FolderSettings) -> str | None:
    """Describe the first file of the source that the recipe does not read, or reads with another label or split; None if there is none."""
    text = settings.effective_pattern
    pattern = None if text is None else Pattern(text)
    excluded = [Pattern(one) for one in settings.exclude]
    for file, label in zip((file.name for file in source.files), content.labels, strict=True):
        what = f"the file {file}, which"
        left_out = next((one for one in excluded if one.fit(file) is not None), None)
        if left_out is not None:
            return f"{what} fits {left_out} in exclude = […] under [source.folder] of the recipe"
        values = {} if pattern is None else pattern.fit(file)
        if values is None:
            return f"{what} does not fit the pattern {text} of the recipe"
        named = values.get(settings.label, content.classes[label])
        if named != content.classes[label]:
            return (
                f"{what} has the label {content.classes[label]!r}, but by the recipe its label is {named!r}"
            )
        split = _split_of_file(file, values, settings)
        if split not in (None, source.split):
            return f"{what} is in the split {split!r} by the recipe"
    return None


def _split_of_file(file: str, values: dict[str, str], settings: FolderSettings) -> str | None:
    """Return the split that the recipe gives a file; None if only the table states it."""
    if settings.split in values:
        return values[settings.split]
    if settings.shares:
        group = file if settings.group is None else values.get(settings.group)
        return None if group is None else split_of(group, settings.shares)
    return DEFAULT_SPLIT if settings.table is None else None
