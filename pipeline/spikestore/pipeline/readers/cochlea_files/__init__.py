"""SSC and SHD: events in HDF5 files."""
