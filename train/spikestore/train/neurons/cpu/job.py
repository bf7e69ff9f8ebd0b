"""Names of the words of a job. A job is a block of 8-byte words; its address is the only argument of a compiled task."""

from __future__ import annotations

JOB = (
    "next", "batch", "time", "neurons", "x", "state", "spikes", "kept", "packed", "record", "surrogate",
    "gradient", "input_gradient", "threshold", "inverse", "reset", "minimum", "scale", "width", "unpackable",
    "fired", "source", "weight", "bias", "inputs", "sums",
    "group", "weight_gradient",
)  # fmt: skip
"""Names of a job's words, in order."""

(
    NEXT, BATCH, TIME, NEURONS, X, STATE, SPIKES, KEPT, PACKED, RECORD, SURROGATE, GRADIENT,
    INPUT_GRADIENT, THRESHOLD, INVERSE, RESET, MINIMUM, SCALE, WIDTH, UNPACKABLE, FIRED,
    SOURCE, WEIGHT, BIAS, INPUTS, SUMS,
    GROUP, WEIGHT_GRADIENT,
) = range(len(JOB))  # fmt: skip
WORDS = len(JOB)
