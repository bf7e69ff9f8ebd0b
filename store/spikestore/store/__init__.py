"""The store: open, read, build, commit, share, verify and repair feature sets.

This package imports neither Dask, Tonic nor torch. Each of its classes and functions is imported when it is first used.
"""

from spikestore.store_schemas.lazy_exports import lazy_exports

# True for type checkers. Importing `typing` would take most of the time before Ctrl-C is handled.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from spikestore.store.build import Build
    from spikestore.store.columns.samples import SampleColumns
    from spikestore.store.feature_set import FeatureSet
    from spikestore.store.store import Store
    from spikestore.store.upkeep.verify import Damage, verify

__all__ = ["Build", "Damage", "FeatureSet", "SampleColumns", "Store", "verify"]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "Build": "build",
        "Damage": "upkeep.verify",
        "FeatureSet": "feature_set",
        "SampleColumns": "columns.samples",
        "Store": "store",
        "verify": "upkeep.verify",
    },
)
