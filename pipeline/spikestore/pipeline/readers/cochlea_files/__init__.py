"""Data sets of cochleas: SSC, SHD and N-TIDIGITS18, with events in HDF5 files."""
