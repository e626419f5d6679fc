"""One prepared component -> its .tflite file."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from importlib.metadata import version
from typing import TYPE_CHECKING

from edgekit._values import Artifact
from edgekit.errors import GapError
from edgekit.targets.litert.artifact_macs import count_macs
from edgekit.targets.litert.compile_npu import (
    compile_ahead,
    find_chip,
    partition_placements,
    partition_words,
)
from edgekit.targets.litert.fp16_weights import to_fp16_weights
from edgekit.targets.litert.io_layout import io_to_nhwc
from edgekit.targets.litert.lower import lower_component
from edgekit.targets.litert.name_tensors import name_tensors
from edgekit.targets.litert.options import read_options
from edgekit.targets.litert.reference_kernels import NAME, open_reference
from edgekit.targets.litert.restore_weights import restore_weights
from edgekit.targets.litert.save_tflite import save_tflite

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from edgekit._values import Component, Placement
    from edgekit.target import Job
    from edgekit.targets.litert.graph import Graph

PROVES = (
    "this host ran the .tflite file itself on LiteRT's CPU kernels (XNNPACK, and the reference kernels "
    "unless a note says why not): it loads, and its graph, weights and int8 operators give these numbers. No "
    "phone, GPU or NPU was used, and latency is not shown"
)


def build_component(
    component: Component, job: Job, out: Path, *, adapt: Callable[[Graph], list[str]] | None = None
) -> Artifact:
    """Write the file of one variant into `out`; GapError, with nothing written, where a node has no form.

    `adapt` rewrites the finished graph for a compiler behind LiteRT, and says in notes what it did.
    """
    options = read_options(job)
    lowered = lower_component(component)
    if lowered.gaps:
        raise GapError(
            f"{len(lowered.gaps)} node(s) have no LiteRT form, the first is {lowered.gaps[0]}",
            fix="`edgekit check` lists them all, each with its way out",
            gaps=lowered.gaps,
        )
    layouts = io_to_nhwc(lowered.graph) if options.io_layout == "nhwc" else {}
    notes = [count_transposes(lowered.graph, layouts)]
    tensors = name_tensors(lowered)
    if job.precision == "fp16":
        kept = to_fp16_weights(lowered.graph)
        notes += [f"{kept} weights stay float32: fp16 cannot hold their range"] if kept else []
    restored = restore_weights(lowered.graph, options.weights)
    notes += weight_notes(lowered.graph, restored) + gate_notes(lowered.graph)
    if job.precision == "int8" and options.activations == "int16x8":
        notes += width_notes(lowered.graph)
    notes += adapt(lowered.graph) if adapt is not None else []
    name = f"{component.name}.{job.precision}.tflite"
    description = f"edgekit {component.name} {job.precision}"
    behind = save_tflite(
        lowered.graph, out / name, description=description, inline_bytes=options.inline_bytes
    )
    notes += [f"{behind} bytes of weights lie behind the flatbuffer, as external buffers"] if behind else []
    compiled: list[str] = []
    placements: tuple[Placement, ...] = ()
    if options.aot:
        compiled_name, stats = compile_ahead(out / name, find_chip(options.aot))
        compiled.append(compiled_name)
        notes.append(partition_words(options.aot, stats))
        placements = partition_placements(options.aot, stats)
    artifact = Artifact(
        component=component.name,
        variant=job.precision,
        main=name,
        files=(name, *compiled),
        runtime=f"ai-edge-litert {version('ai-edge-litert')}",
        macs=count_macs(out / name),
        notes=tuple(notes),
        proves=PROVES,
        tensors=tensors,
        layouts=layouts,
        placements=placements,
    )
    second = open_reference(artifact, out)
    if not isinstance(second, str):
        return artifact
    return replace(artifact, notes=(*notes, f"not proven on {NAME}: {second}"))


def gate_notes(graph: Graph) -> list[str]:
    """Where LiteRT fixes the scale of an integer result, so that it is not the record's."""
    fixed = {
        ("int8", "LOGISTIC"): "1/256 around -128",
        ("int8", "TANH"): "1/128",
        ("int16", "LOGISTIC"): "1/32768",
        ("int16", "TANH"): "1/32768",
    }
    counts = Counter((item.outputs[0].dtype, item.code) for item in graph.operators)
    return [
        f"{counts[dtype, code]} {dtype} {code} give LiteRT's own scale {scale}; what follows is "
        "back in the record's"
        for (dtype, code), scale in fixed.items()
        if counts[dtype, code]
    ]


def width_notes(graph: Graph) -> list[str]:
    """That 16-bit activations were allowed and no operator has them."""
    if any(item.outputs[0].dtype == "int16" for item in graph.operators):
        return []
    return [
        "no operator has 16-bit activations: only a search (--precision auto, --max-drop) gives them, and "
        "only where 8 bits lose too much"
    ]


def weight_notes(graph: Graph, restored: int) -> list[str]:
    """Which operators read integer weights beside float data, and how they compute."""
    codes = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV")
    dynamic = sum(
        operator.code in codes
        and operator.outputs[0].dtype == "float32"
        and any(item is not None and item.dtype in ("int8", "int4") for item in operator.inputs)
        for operator in graph.operators
    )
    blocks = any(
        item is not None and item.quant is not None and item.quant.blocks is not None
        for operator in graph.operators
        if operator.code == "FULLY_CONNECTED"
        for item in operator.inputs
    )
    notes = [f"{restored} operators restore their integer weights and compute in float"] if restored else []
    if dynamic:
        notes.append(
            f"{dynamic} operators read their integer weights themselves: LiteRT's kernels quantize the float "
            "data to int8 on the fly"
        )
    if blocks:
        notes.append(
            "int4 weights in blocks: XNNPACK and LiteRT's optimized kernels compute them, "
            "its reference kernels do not"
        )
    return notes


def count_transposes(graph: Graph, layouts: Mapping[str, str]) -> str:
    """How many transposes are left, and how many of them stand at the public inputs and outputs."""
    border = inside = 0
    at_input, at_output = set(graph.inputs), set(graph.outputs)
    for operator in graph.operators:
        if operator.code in ("QUANTIZE", "DEQUANTIZE") and operator.inputs[0] in at_input:
            at_input.update(operator.outputs)
    for operator in reversed(graph.operators):
        if operator.code in ("QUANTIZE", "DEQUANTIZE") and operator.outputs[0] in at_output:
            at_output.update(item for item in operator.inputs if item is not None)
    for operator in graph.operators:
        if operator.code == "TRANSPOSE":
            if operator.inputs[0] in at_input or operator.outputs[0] in at_output:
                border += 1
            else:
                inside += 1
    kept = "4-dim inputs and outputs lie NHWC" if layouts else "inputs and outputs keep the ONNX layout"
    return f"{kept}; {border} transposes stand there, {inside} are left inside"
