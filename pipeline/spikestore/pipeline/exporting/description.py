"""Description of an export: a mapping of plain JSON values for programs, and a README for people."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from spikestore.pipeline.exporting.kept_samples import index_dtype, sample_count, value_dtype
from spikestore.pipeline.readers.registry import dataset_named
from spikestore.store import FeatureSet
from spikestore.store.progress import UnlabelledProgress
from spikestore.store_schemas.documents.manifest import Manifest
from spikestore.store_schemas.errors import UsageError
from spikestore.store_schemas.wording import plural

UNKNOWN = "not known"

_EXTRAS = {
    "speaker": "number of the speaker",
    "user": "number of the person who was recorded",
    "n_events": "events in the recording, as read",
    "n_cropped": "events that were removed before binning",
    "n_dropped": "events that lie in no time bin",
}


class SplitToWrite(NamedTuple):
    """A split, for the functions that write its files."""

    features: FeatureSet
    name: str
    folder: Path
    facts: Mapping[str, Any]
    """Result of `describe`."""
    arrays: Mapping[str, str]
    """Result of `meanings`."""
    progress: UnlabelledProgress

    def path_with(self, ending: str) -> Path:
        """Return the path of a file or folder that is named after the split."""
        return self.folder / f"{self.name}{ending}"


def describe(features: FeatureSet) -> dict[str, Any]:
    """Return the description of an exported set: origin, sizes, classes, axes, transform, licence. Times are in µs."""
    manifest, layout = features.manifest, features.layout
    licence, citation = terms(manifest)
    return {
        "dataset": manifest.source.dataset,
        "split": manifest.source.split,
        "licence": licence,
        "citation": citation,
        "samples": sample_count(manifest),
        "skipped_rows": [row.row for row in manifest.skipped],
        "non_zeros": manifest.nnz,
        "classes": list(layout.classes),
        "axes": list(layout.axes),
        "sites": list(layout.sites),
        "most_time_bins": manifest.n_bins,
        "largest_value": manifest.max_value,
        "transform": [operation.to_mapping() for operation in manifest.transform.operations],
        "time_unit_of_the_transform": "us",
        "transform_key": features.address.transform_key,
        "source_key": features.address.source_key,
        "digest": features.digest,
        "made_by": f"spikestore {importlib.metadata.version('spikestore')}",
    }


def terms(manifest: Manifest) -> tuple[str, str]:
    """Return the licence and the citation of the recordings; each is `UNKNOWN` if this installation does not know it.

    A licence that the recipe states replaces that of the data set.
    """
    source, stated = manifest.source, manifest.provenance.get("licence")
    licence = stated if isinstance(stated, str) else ""
    try:
        dataset = dataset_named(source.dataset)
    except UsageError:  # of a package that is not installed here
        return licence or UNKNOWN, UNKNOWN
    if dataset.reader != source.reader:
        return licence or UNKNOWN, UNKNOWN
    return licence or dataset.licence or UNKNOWN, dataset.citation or UNKNOWN


def meanings(features: FeatureSet, *, sparse: bool) -> dict[str, str]:
    """Return what each exported array means, by its name.

    Parameters
    ----------
    features : FeatureSet
        The set.
    sparse : bool
        True if the non-zeros of all samples are exported together; False if the frames of each sample are exported as a dense
        array.
    """
    layout, dtype = features.layout, value_dtype(features.manifest)
    count = "number of events" if dtype.kind in "iu" else "value"
    shape = ", ".join(map(str, layout.sites))
    folder = features.manifest.source.folder
    own = {} if folder is None else folder.values  # may have any meaning, whatever their names are
    known = {name: text for name, text in _EXTRAS.items() if name not in own}
    per_sample = {
        "label": "class number: position in classes, from 0",
        "row": "row of the sample in the feature set of spikestore; skipped recordings are not exported, so their numbers are missing",
        "n_bins": "time bins of the sample",
        **{
            name: known.get(name, "additional column that describes the recordings")
            for name in features.manifest.extras
        },
    }
    if not sparse:
        frames = f"{count} in each time bin and position: {dtype.name} of shape (time bins, {shape}), axes {', '.join(layout.axes)}"
        return {"frames": frames, **per_sample}
    place = "(t * P + p) * Y + y) * X + x" if "y" in layout.axes else "t * P + p) * X + x"
    sizes = ", ".join(
        f"{axis[0].upper()} = {size}" for axis, size in zip(layout.axes[1:], layout.sites, strict=True)
    )
    return {
        "index": f"position of each non-zero in the frames of its sample: ({place}, with {sizes}; "
        f"{index_dtype(features.manifest).name}, ascending within a sample",
        "value": f"{count} of each non-zero: {dtype.name}, never 0",
        "offsets": "sample i has the indices index[offsets[i]:offsets[i + 1]] and the values value[offsets[i]:offsets[i + 1]]",
        **per_sample,
    }


def readme(
    form: str,
    layout: str,
    descriptions: Mapping[str, Mapping[str, Any]],
    arrays: Mapping[str, Mapping[str, str]],
) -> str:
    """Return the text of README.txt.

    Parameters
    ----------
    form : str
        Name of the export's form, such as ``npz``.
    layout : str
        Text about the names of the files and folders, and how to read them.
    descriptions : mapping
        Result of `describe` for each split.
    arrays : mapping
        Result of `meanings` for each split.
    """
    first = next(iter(descriptions.values()))
    parts = [
        f"Event recordings, binned into frames. Exported by {first['made_by']} (form: {form}).",
        layout,
        *_array_texts(arrays),
        "description.json contains the same information for programs. All times in both files are in microseconds.",
    ]
    for split, facts in descriptions.items():
        left_out = len(facts["skipped_rows"])
        lines = [
            f"{split}: {plural(facts['samples'], 'sample')} of {facts['dataset']} {facts['split']}"
            + (f" (without {plural(left_out, 'recording')} that could not be read)" if left_out else ""),
            f"  licence of the recordings: {facts['licence']}",
            f"  to cite: {facts['citation']}",
            f"  keys: {facts['transform_key']}/{facts['source_key']}",
            f"  digest: {facts['digest']}",
            *(f"  transform: {_operation(operation)}" for operation in facts["transform"]),
        ]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _array_texts(arrays: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Return the text about the arrays. If dtypes differ between splits, the text has one part for each split; else it has one part for all splits."""
    texts = {
        split: "\n".join(f"{name}: {text}" for name, text in own.items()) for split, own in arrays.items()
    }
    if len(set(texts.values())) == 1:
        return [next(iter(texts.values()))]
    return [f"In {split}:\n{text}" for split, text in texts.items()]


def _operation(operation: Mapping[str, Any]) -> str:
    given = (
        f"{name} = {value}"
        for name, value in operation.items()
        if name not in ("op", "version") and value is not None
    )
    return f"{operation['op']}: {', '.join(given)}"
