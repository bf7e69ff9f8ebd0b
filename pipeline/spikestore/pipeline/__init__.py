"""Fill a store: read recordings, transform them, write fragments, commit."""

from spikestore.pipeline.preprocessing import BuildOptions, preprocess
from spikestore.pipeline.source_files import LocatedSource, make_source

__all__ = ["BuildOptions", "LocatedSource", "make_source", "preprocess"]
