"""Readers: from the files of a dataset to recordings.

Nothing here imports HDF5 or Tonic before a file is opened: `spikestore.pipeline.readers.datasets` knows names and
files, and loads a reader's module when it is asked for a reader.
"""
