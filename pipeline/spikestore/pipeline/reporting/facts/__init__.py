"""The facts of a report: plain values, computed in one pass over the samples."""
