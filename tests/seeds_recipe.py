"""The transform of the seed's recipe, as TOML."""

SEEDS_TRANSFORM = """
[[transform]]
op = "downsample"
spatial_factor = "100/700"

[[transform]]
op = "crop_time"
max = 1e6

[[transform]]
op = "to_frame"
sensor_size = [100, 1, 1]
time_window = 4000
include_incomplete = true
"""
