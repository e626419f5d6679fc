"""The figures that a device TOML may cite, and the unit of each."""

from __future__ import annotations

FIGURES = {
    "int8_dense": "TOPS",  # of the unit that runs networks
    "int8_sparse": "TOPS",  # with two of four weights zero: no peak of a dense network
    "fp16_dense": "TFLOPS",
    "fp32": "TFLOPS",
    "fp4_sparse": "TFLOPS",
    "neural_engine_peak": "TOPS",  # as the vendor says it, precision not named
    "dram_bandwidth": "GB/s",
    "vtcm": "MB",  # a Hexagon's own fast memory
    "memory": "GB",
    "memory_reserved": "GB",  # what the system keeps from an application
    "battery": "Wh",
    "power_idle": "W",  # the whole board
    "power_load": "W",  # the whole board while it computes
    "power_limit": "W",
    "sustained_share": "%",  # of the first minute's throughput after ten minutes
}
