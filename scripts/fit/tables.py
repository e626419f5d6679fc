"""Reads the public tables of latencies that the fits are made from."""

from __future__ import annotations

import csv
from collections import defaultdict
from typing import TYPE_CHECKING

from scripts.fit.cpu import CpuRun, MixedRun

if TYPE_CHECKING:
    from pathlib import Path

Row = dict[str, str]
Graph = tuple[str, str]  # model, component ("" where the model is one graph)
# Device of the AI Hub table -> edgekit's device.
DEVICES = {
    "QCS8550 (Proxy)": "qcs8550",
    "QCS8450 (Proxy)": "qcs8450",
    "QCS8275 (Proxy)": "qcs8275",
    "Samsung Galaxy S24": "galaxy-s24",
    "Samsung Galaxy S25": "galaxy-s25",
    "Snapdragon 8 Elite QRD": "snapdragon-8-elite",
    "Snapdragon 8 Elite Gen 5 QRD": "snapdragon-8-elite-gen-5",
    "Snapdragon 7 Gen 4 QRD": "snapdragon-7-gen-4",
    "Snapdragon X Elite CRD": "snapdragon-x-elite",
    "Snapdragon X2 Elite CRD": "snapdragon-x2-elite",
    "Dragonwing IQ-9075 EVK": "dragonwing-iq-9075",
    "Dragonwing Q-6690 MTP": "dragonwing-q-6690",
    "Dragonwing RB3 Gen 2 Vision Kit": "dragonwing-rb3-gen-2",
    "SA8775P ADP": "sa8775p",
    "SA7255P ADP": "sa7255p",
    "SA8295P ADP": "sa8295p",
}
ON_CPU = {"w8a8": "int8", "w8a16": "fp32"}
PRECISIONS = {"float": "fp16", "w8a8": "int8"}  # the NPU computes float models in fp16
# Runtime of the table -> edgekit's; `onnx` is ONNX Runtime with its QNN provider.
RUNTIMES = {"tflite": "litert", "qnn_dlc": "qnn", "qnn_context_binary": "qnn", "onnx": "onnxruntime"}
JETSONS = {
    "Jetson AGX Orin 64GB": "jetson-agx-orin-64gb",
    "Jetson Orin Nano Super 8GB": "jetson-orin-nano-super",
    "Jetson Orin NX 16GB": "jetson-orin-nx-16gb",
}


def read_rows(path: Path) -> list[Row]:
    """The rows of one CSV file."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def npu_latencies(rows: list[Row]) -> dict[tuple[str, str, str], dict[Graph, float]]:
    """(device, runtime, precision) -> graph -> ms, of runs that stayed on the NPU."""
    parts = _components(rows)
    found: dict[tuple[str, str, str], dict[Graph, float]] = defaultdict(dict)
    for row in rows:
        device, precision = DEVICES.get(row["device"]), PRECISIONS.get(row["precision"])
        runtime = RUNTIMES.get(row["runtime"])
        if device and precision and runtime and row["latency_us"] and _stayed(row):
            graph = (row["model"], row["component"] if len(parts[row["model"]]) > 1 else "")
            found[device, runtime, precision].setdefault(graph, float(row["latency_us"]) / 1000)
    return dict(found)


def cpu_latencies(rows: list[Row]) -> dict[str, list[CpuRun]]:
    """int8 and fp32 -> runs of ONNX Runtime that went to the CPU as a whole.

    fp32: w8a16 models, which its CPU kernels compute in float between conversions; of float models there
    are no such runs of networks that can be drawn here.
    """
    found: dict[str, list[CpuRun]] = {"int8": [], "fp32": []}
    parts = _components(rows)
    for row in rows:
        device, precision = DEVICES.get(row["device"]), ON_CPU.get(row["precision"])
        elsewhere = {row["layers_npu"], row["layers_gpu"]} - {"0", ""}
        alone = row["runtime"] == "onnx" and row["layers_cpu"] not in ("0", "") and not elsewhere
        if device and precision and row["latency_us"] and alone:
            graph = (row["model"], row["component"] if len(parts[row["model"]]) > 1 else "")
            found[precision].append(CpuRun(device, graph, float(row["latency_us"]) / 1000))
    return found


def mixed_latencies(rows: list[Row]) -> dict[tuple[str, str, str], list[MixedRun]]:
    """(device, runtime, precision) -> runs of which some operators went to the NPU and others elsewhere."""
    found: dict[tuple[str, str, str], list[MixedRun]] = defaultdict(list)
    parts = _components(rows)
    for row in rows:
        device, precision = DEVICES.get(row["device"]), PRECISIONS.get(row["precision"])
        runtime = RUNTIMES.get(row["runtime"])
        npu, gpu, cpu = (int(row[f"layers_{unit}"] or 0) for unit in ("npu", "gpu", "cpu"))
        if device and precision and runtime and row["latency_us"] and npu and cpu:
            graph = (row["model"], row["component"] if len(parts[row["model"]]) > 1 else "")
            run = MixedRun(graph, float(row["latency_us"]) / 1000, npu, cpu + gpu)
            found[device, runtime, precision].append(run)
    return dict(found)


def _components(rows: list[Row]) -> dict[str, set[str]]:
    parts: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        parts[row["model"]].add(row["component"])
    return parts


def _stayed(row: Row) -> bool:
    return row["primary_unit"] == "NPU" and not {row["layers_cpu"], row["layers_gpu"]} - {"0", ""}


def yolo_latencies(rows: list[Row]) -> dict[tuple[str, str, str], dict[Graph, float]]:
    """(device, runtime, precision) -> graph -> ms, of YOLO11 under TensorRT."""
    found: dict[tuple[str, str, str], dict[Graph, float]] = defaultdict(dict)
    for row in rows:
        name = row["model"].split()[0].lower()
        wanted = row["device"] in JETSONS and row["runtime"] == "TensorRT" and name.startswith("yolo11")
        if wanted and row["metric"] == "inference time":
            cell = (JETSONS[row["device"]], "tensorrt", row["precision"].lower())
            found[cell][name, ""] = float(row["value"])
    return dict(found)
