"""Exports of feature sets into plain files, which other programs read without spikestore."""
