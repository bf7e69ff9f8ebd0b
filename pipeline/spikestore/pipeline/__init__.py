"""Fill a store: read recordings, transform them, write fragments, commit."""

from typing import TYPE_CHECKING

from spikestore.store_schemas.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from spikestore.pipeline.preprocessing import BuildOptions, preprocess
    from spikestore.pipeline.source_files import LocatedSource, make_source

__all__ = ["BuildOptions", "LocatedSource", "make_source", "preprocess"]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "BuildOptions": "preprocessing",
        "LocatedSource": "source_files",
        "make_source": "source_files",
        "preprocess": "preprocessing",
    },
)
