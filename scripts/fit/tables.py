"""Reads the two public tables of latencies that the fits are made from."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

Row = dict[str, str]
# Device of the AI Hub table -> edgekit's device.
DEVICES = {
    "QCS8550 (Proxy)": "qcs8550",
    "Samsung Galaxy S24": "galaxy-s24",
    "Samsung Galaxy S25": "galaxy-s25",
    "Snapdragon 8 Elite Gen 5 QRD": "snapdragon-8-elite-gen-5",
    "Dragonwing IQ-9075 EVK": "dragonwing-iq-9075",
}
PRECISIONS = {"float": "fp16", "w8a8": "int8"}  # the NPU computes float models in fp16
# MACs (1e9) and parameters (1e6) of YOLO11 at 640 pixels: Ultralytics' model card (GFLOPs halved).
YOLO = {
    "YOLO11n": (3.25, 2.6), "YOLO11s": (10.75, 9.4), "YOLO11m": (34.0, 20.1), "YOLO11l": (43.45, 25.3),
    "YOLO11x": (97.45, 56.9),
}  # fmt: skip
JETSONS = {
    "Jetson AGX Orin 64GB": "jetson-agx-orin-64gb",
    "Jetson Orin Nano Super 8GB": "jetson-orin-nano-super",
    "Jetson Orin NX 16GB": "jetson-orin-nx-16gb",
}


def read_rows(path: Path) -> list[Row]:
    """The rows of one CSV file."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def npu_latencies(rows: list[Row]) -> dict[tuple[str, str], dict[tuple[str, str], float]]:
    """(device, precision) -> (model, component) -> ms, of tflite runs that stayed on the NPU."""
    found: dict[tuple[str, str], dict[tuple[str, str], float]] = {}
    for row in rows:
        device, precision = DEVICES.get(row["device"]), PRECISIONS.get(row["precision"])
        alone = row["primary_unit"] == "NPU" and row["layers_cpu"] == row["layers_gpu"] == "0"
        if device and precision and alone and row["runtime"] == "tflite" and row["latency_us"]:
            key = (row["model"], row["component"])
            found.setdefault((device, precision), {})[key] = float(row["latency_us"]) / 1000
    return found


def yolo_latencies(rows: list[Row]) -> list[tuple[str, str, str, float]]:
    """(model, device, precision, ms) of YOLO11 under TensorRT in fp16 and int8."""
    return [
        (row["model"].split()[0], JETSONS[row["device"]], row["precision"].lower(), float(row["value"]))
        for row in rows
        if row["device"] in JETSONS
        and row["model"].split()[0] in YOLO
        and row["runtime"] == "TensorRT"
        and row["metric"] == "inference time"
        and row["precision"] in ("FP16", "INT8")
    ]
