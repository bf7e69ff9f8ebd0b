"""The command line ``spikestore``."""
