"""Checks of ``spikestore doctor``: the machine, the store, and what other packages add by entry points."""
