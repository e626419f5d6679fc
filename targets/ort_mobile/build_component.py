"""One prepared component -> its .ort files, operator lists and usability report."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import onnx_ir as ir

from edgekit._qdq.split_activations import split_activations
from edgekit._schemes import WEIGHT_BITS
from edgekit._values import Artifact
from edgekit.errors import ModelError
from edgekit.passes.serialize_model import save_model
from edgekit.targets.ort_mobile.absorb_weights import absorb_weights
from edgekit.targets.ort_mobile.artifact_macs import MacCount, count_macs
from edgekit.targets.ort_mobile.inner_values import ENDING, give_inner
from edgekit.targets.ort_mobile.large_file import is_large, write_large
from edgekit.targets.ort_mobile.options import read_options
from edgekit.targets.ort_mobile.save_ort import save_ort, save_styles
from edgekit.targets.ort_mobile.usability import check_usability, usability_text

if TYPE_CHECKING:
    from edgekit._values import Component
    from edgekit.target import Job


def build_component(component: Component, job: Job, out: Path, *, proves: str) -> Artifact:
    """Write the files of one variant into `out`; the component's model stays unchanged."""
    import onnxruntime as ort

    if job.precision == "fp16":
        raise ModelError(
            "ort-mobile has no fp16 variant: the CPU provider has float16 kernels for a few ops only",
            fix="use --precision fp32 or int8",
        )
    stem = f"{component.name}.{job.precision}"
    model, notes = _in_variant(component.model, job)
    if is_large(model, job):
        return write_large(component, model, job, out, notes)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "model.onnx"
        save_model(model, path)
        inner = _write_inner(component.model, job, out, stem)
        files = save_styles(path, out, stem, job.precision, also=[out / name for name in inner])
        reports = _write_usability(path, out, stem)
    count = count_macs((out / files[0]).read_bytes())
    if count.macs is None and not all(_is_fixed(value) for value in model.graph.inputs):
        count = _count_at_largest(model, job)
    if count.reason:
        notes.append(count.reason)
    return Artifact(
        component=component.name,
        variant=job.precision,
        main=files[0],
        files=(*files, *inner, *reports),
        runtime=f"onnxruntime {ort.__version__}",
        macs=count.macs,
        notes=tuple(notes),
        proves=proves,
    )


def _write_inner(model: ir.Model, job: Job, out: Path, stem: str) -> tuple[str, ...]:
    """The second file that gives inner values, where some were asked for."""
    if not job.inner:
        return ()
    file = out / f"{stem}{ENDING}"
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "model.onnx"
        # Before the changes for onnxruntime's kernels: they drop a Relu that its rounding implies.
        save_model(_in_variant(give_inner(model, job.inner), job)[0], path)
        save_ort(path, file, settings={}, precision=job.precision)
    return (file.name,)


def _in_variant(model: ir.Model, job: Job) -> tuple[ir.Model, list[str]]:
    """The graph as onnxruntime's kernels want it, and what is to be told of the change."""
    if job.precision == "int8":
        model = model.clone()
        split = split_activations(model)
        told = f"{split} Relu and Clip nodes were split from the op before them (same numbers)"
        return model, [told] if split else []
    if job.precision not in WEIGHT_BITS:
        return model, []
    dynamic = read_options(job).weights == "dynamic"
    model = model.clone()
    absorbed = absorb_weights(model, 4 if dynamic else 1)
    notes = [f"{absorbed.nodes} operators read integer weights (MatMulNBits, GatherBlockQuantized)"]
    if dynamic:
        notes.append("their kernels round the float data to int8 on the fly (accuracy_level 4)")
    if absorbed.restored:
        notes.append(f"{absorbed.restored} int4 weights are held as float: no operator here reads them")
    return model, notes


def _is_fixed(value: ir.Value) -> bool:
    return value.shape is not None and value.shape.is_static()


def _count_at_largest(model: ir.Model, job: Job) -> MacCount:
    """Counted in a twin of the artifact, saved with every input at the largest shape the user gave."""
    twin = model.clone()
    for value in twin.graph.inputs:
        if _is_fixed(value):
            continue
        dims = job.shapes.get(value.name or "")
        if dims is None:
            return MacCount(None, f"MACs are unknown: input '{value.name}' has a dynamic shape")
        value.shape = ir.Shape([dim.high for dim in dims])
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "twin.onnx"
        save_model(twin, path)
        save_ort(path, path.with_suffix(".ort"), settings={}, precision=job.precision)
        count = count_macs(path.with_suffix(".ort").read_bytes())
    reason = count.reason or "MACs are counted in a twin of the file, saved at the largest input shapes"
    return MacCount(count.macs, reason)


def _write_usability(model: Path, out: Path, stem: str) -> tuple[str, str]:
    uses = check_usability(model)
    table = {"schema": 1, "providers": [use.as_json() for use in uses]}
    (out / f"{stem}.usability.json").write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")
    (out / f"{stem}.usability.txt").write_text(usability_text(uses), encoding="utf-8")
    return f"{stem}.usability.json", f"{stem}.usability.txt"
