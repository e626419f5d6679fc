"""Writes one component of one variant as the ONNX file that the device builds its engine from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit._cost import count_macs
from edgekit._values import Artifact, DimRange
from edgekit.passes.fix_shapes import fix_shapes
from edgekit.passes.infer_shapes import infer_shapes
from edgekit.passes.remove_unused import remove_unused
from edgekit.passes.serialize_model import save_model
from edgekit.passes.split_log_powers import hold_log_powers
from edgekit.passes.to_float16 import to_float16
from edgekit.target import refuse_unsafe_names
from edgekit.targets.tensorrt.host import ENGINE_WORDS, tensorrt_here

if TYPE_CHECKING:
    from pathlib import Path

    import onnx_ir as ir

    from edgekit._values import Component, MacShare
    from edgekit.target import Job

UNPROVEN = "TensorRT engine: unproven on this host"


def build_component(component: Component, job: Job, out: Path) -> Artifact:
    """`<component>.<variant>.onnx` in `out`; the component's model stays unchanged."""
    model, notes = _in_variant(component.model, job)
    refuse_unsafe_names([component])
    macs, told = _count(model, job)
    files = save_model(model, out / f"{component.name}.{job.precision}.onnx")
    return Artifact(
        component=component.name,
        variant=job.precision,
        main=files[0].name,
        files=tuple(path.name for path in files),
        runtime="tensorrt",
        macs=macs,
        notes=(*notes, *told),
        proves=_proves(),
    )


def _in_variant(model: ir.Model, job: Job) -> tuple[ir.Model, tuple[str, ...]]:
    # TensorRT up to 10 may compute the float layers of the int8 file in float16 too.
    held, logarithms = hold_log_powers(model) if job.precision in ("fp16", "int8") else (model, 0)
    told = (f"{logarithms} logarithms of powers are in a form that float16 holds",) if logarithms else ()
    if job.precision != "fp16":
        return held, (*told, UNPROVEN)
    clone = held.clone()
    converted = to_float16(clone)
    remove_unused(clone)
    return clone, (*told, f"{converted} nodes compute in float16", UNPROVEN)


def _count(model: ir.Model, job: Job) -> tuple[MacShare | None, tuple[str, ...]]:
    """The file's MACs; with dynamic dims those of a twin at the largest shapes that the user gave."""
    dynamic = [value.name for value in model.graph.inputs if value.shape is None or value.shape.is_dynamic()]
    if not dynamic or not set(dynamic) <= set(job.shapes):
        return count_macs(model), ()
    twin = model.clone()
    largest = {name: tuple(DimRange(dim.high, dim.high) for dim in dims) for name, dims in job.shapes.items()}
    fix_shapes(twin, largest)
    infer_shapes(twin)
    macs = count_macs(twin)
    return macs, () if macs is None else ("MACs are counted at the largest input shapes",)


def _proves() -> str:
    version = tensorrt_here()
    if version is not None:
        return f"{ENGINE_WORDS} by TensorRT {version}; engines of other GPUs: unproven"
    return (
        "ONNX Runtime on the CPU, node by node as written, proves the numbers of the ONNX file "
        f"and nothing about any engine. {UNPROVEN}; device/run.sh proves it on the device"
    )
