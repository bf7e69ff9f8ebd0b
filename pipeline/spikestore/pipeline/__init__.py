"""Pipeline: builds of feature sets from recordings, exports of sets to plain files, and imports of Tonic's caches."""

from typing import TYPE_CHECKING

from spikestore.store_schemas.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from spikestore.pipeline.building.options import BuildOptions
    from spikestore.pipeline.building.preprocess import preprocess
    from spikestore.pipeline.exporting.export import Exported, export
    from spikestore.pipeline.importing.import_cache import import_cache
    from spikestore.pipeline.recipes.recipe import Recipe, load_recipe
    from spikestore.pipeline.sources.item_sources import source_of_dataset
    from spikestore.pipeline.sources.source_files import LocatedSource, make_source
    from spikestore.pipeline.transforms.from_tonic import rows_of_items
    from spikestore.pipeline.transforms.own_operations import EventFunction

__all__ = [
    "BuildOptions",
    "EventFunction",
    "Exported",
    "LocatedSource",
    "Recipe",
    "export",
    "import_cache",
    "load_recipe",
    "make_source",
    "preprocess",
    "rows_of_items",
    "source_of_dataset",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "BuildOptions": "building.options",
        "EventFunction": "transforms.own_operations",
        "Exported": "exporting.export",
        "LocatedSource": "sources.source_files",
        "Recipe": "recipes.recipe",
        "export": "exporting.export",
        "import_cache": "importing.import_cache",
        "load_recipe": "recipes.recipe",
        "make_source": "sources.source_files",
        "preprocess": "building.preprocess",
        "rows_of_items": "transforms.from_tonic",
        "source_of_dataset": "sources.item_sources",
    },
)
