"""Readers: read recordings from the files of a data set.

A package that adds a data set creates a `Dataset` from the classes in this module, and registers it as an entry point of the
group ``spikestore.datasets``; docs/recipes.md has an example.
"""

from typing import TYPE_CHECKING

from spikestore.store_schemas.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from spikestore.pipeline.readers.dataset import Dataset, TonicClass
    from spikestore.pipeline.readers.event_block import EventBlock
    from spikestore.pipeline.readers.event_files.file_per_recording import Decoded, FilePerRecording
    from spikestore.pipeline.readers.formats.format import Format
    from spikestore.pipeline.readers.reader import Reader
    from spikestore.pipeline.readers.recording import Recording
    from spikestore.pipeline.readers.split_files import FileTree, NamedFiles

__all__ = [
    "Dataset", "Decoded", "EventBlock", "FilePerRecording", "FileTree", "Format", "NamedFiles", "Reader", "Recording", "TonicClass",
]  # fmt: skip

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "Dataset": "dataset",
        "Decoded": "event_files.file_per_recording",
        "EventBlock": "event_block",
        "FilePerRecording": "event_files.file_per_recording",
        "FileTree": "split_files",
        "Format": "formats.format",
        "NamedFiles": "split_files",
        "Reader": "reader",
        "Recording": "recording",
        "TonicClass": "dataset",
    },
)
