"""Everything that keeps a component from being a good .ort file, before any work."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import onnx_ir as ir

from edgekit._values import Gap
from edgekit.passes._rewire import CONTROL_FLOW
from edgekit.passes.deciding_inputs import bind_deciding_inputs
from edgekit.passes.serialize_model import save_model
from edgekit.targets.ort_mobile.check_kernels import check_kernels, runtime_state
from edgekit.targets.ort_mobile.large_file import is_large
from edgekit.targets.ort_mobile.usability import check_usability

if TYPE_CHECKING:
    from edgekit._values import Component
    from edgekit.target import Job


def check_model(component: Component, job: Job, target: str) -> list[Gap]:
    """Errors where a node has no kernel; warnings from the usability checker where there are no errors.

    The checker looks at the float graph; what it says of the Q/DQ one lies in the bundle (usability.txt).
    """
    gaps = [*_check_precision(component, job, target), *_check_runtime(component, job, target)]
    gaps += [*check_kernels(component, target), *_check_mixed_signs(component, target)]
    is_float = all(node.op_type != "QuantizeLinear" for node in component.model.graph)
    if is_large(component.model, job):
        rule = "the usability checker was not asked: it loads the whole model, several times over"
        gaps.append(
            Gap(target, component.name, "", "NNAPI, CoreML", rule, "stay on the CPU provider", "warning")
        )
    elif is_float and not any(gap.severity == "error" for gap in gaps):
        gaps += _check_providers(component, target)
    return gaps


def _check_precision(component: Component, job: Job, target: str) -> list[Gap]:
    if job.precision != "fp16":
        return []
    rule = "the CPU provider has float16 kernels for a few ops only, so there is no fp16 variant"
    return [Gap(target, component.name, "", "model", rule, "use --precision fp32 or int8")]


def _check_runtime(component: Component, job: Job, target: str) -> list[Gap]:
    """A .ort file is read by the version that wrote it and newer ones."""
    import onnxruntime as ort

    device = job.device.versions.get(job.device.software, {}).get("onnxruntime")
    if device is None or _version(device) >= _version(ort.__version__):
        return []
    rule = f"onnxruntime {ort.__version__} writes the .ort file, and '{job.device.software}' is older"
    way_out = f"ship onnxruntime {ort.__version__} in the app, or pip install 'onnxruntime=={device}.*'"
    return [Gap(target, component.name, "", "model", rule, way_out, "warning")]


def _check_mixed_signs(component: Component, target: str) -> list[Gap]:
    """uint8 data with int8 weights: exact on ARM, but x86 hosts without VNNI saturate, so no proof there."""
    gaps = []
    for node in component.model.graph.all_nodes():
        if node.op_type not in ("Conv", "Gemm", "MatMul"):
            continue
        if [_quantized_as(value) for value in node.inputs[:2]] == [ir.DataType.UINT8, ir.DataType.INT8]:
            rule = "uint8 data with int8 weights saturates on x86 without VNNI: a run there proves nothing"
            way_out = "use uint8 weights around 128 (scheme native-u8) or int8 data (scheme portable)"
            gaps.append(Gap(target, component.name, node.name or "", node.op_type, rule, way_out, "warning"))
    return gaps


def _quantized_as(value: ir.Value | None) -> ir.DataType | None:
    """The integer type behind a DQ: that of its zero-point."""
    producer = value.producer() if value is not None else None
    if producer is None or producer.op_type != "DequantizeLinear" or len(producer.inputs) < 3:
        return None
    zero = producer.inputs[2]
    return zero.const_value.dtype if zero is not None and zero.const_value is not None else None


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:2] if part.isdigit())


def _check_providers(component: Component, target: str) -> list[Gap]:
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "model.onnx"
        save_model(component.model, path)
        try:
            uses = check_usability(path)
        except runtime_state().Fail as error:
            return [_refused_branch(component, target, error)]
    gaps = []
    for use in uses:
        if use.suitability == "YES":
            continue
        ops = ", ".join(use.unsupported_ops) or "none by type"
        rule = (
            f"would take {use.supported} of {use.nodes} nodes in {use.partitions} partitions "
            f"(unsupported ops: {ops})"
        )
        way_out = "stay on the CPU provider, or measure both on the device"
        gaps.append(Gap(target, component.name, "", use.provider, rule, way_out, "warning"))
    return gaps


def _refused_branch(component: Component, target: str, error: Exception) -> Gap:
    """A branch that cannot run at these sizes, which ONNX Runtime reads all the same; or raises `error`."""
    graph = component.model.graph
    node = next((node for node in graph if node.op_type in CONTROL_FLOW), None)
    if node is None:
        raise error
    reason = " ".join(str(error).split()).rpartition("Node (")
    rule = f"ONNX Runtime refuses what is inside at these shapes: {''.join(reason[1:])[:200]}"
    way_out = bind_deciding_inputs(graph, node)
    return Gap(target, component.name, node.name or "", node.op_type, rule, way_out)
