"""What is too large for a .ort file: ONNX with its weights beside it, written a tensor at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit._cost import count_macs
from edgekit._values import Artifact
from edgekit.passes.serialize_model import save_beside, weight_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import onnx_ir as ir

    from edgekit._values import Component
    from edgekit.target import Job

# A .ort file is one flatbuffer of 2 GB at most. 640 MB of weights took 4 GB of memory to write it.
LARGEST_ORT_BYTES = 400_000_000
_WHY = (
    "{size:.1f} GB of weights are written as .onnx with external data, not as .ort: that is one flatbuffer "
    "(2 GB at most) and takes several times its size of memory to write. Load it by its path, with a full "
    "onnxruntime: no class, operator list, usability report or file of inner values comes with it"
)
_PROVES = (
    "this host ran the .onnx file itself on onnxruntime's CPU provider, as written: it loads, and its graph "
    "and weights give these numbers. No ARM CPU was used, and NNAPI, Core ML and latency are not shown"
)


def is_large(model: ir.Model, job: Job) -> bool:
    """Whether a variant goes beside an .onnx file; int8 never does: a .ort holds its kernels."""
    return job.precision != "int8" and weight_bytes(model) > LARGEST_ORT_BYTES


def write_large(component: Component, model: ir.Model, job: Job, out: Path, notes: Sequence[str]) -> Artifact:
    """`<component>.<variant>.onnx` and its `.data` in `out`; `model` is the component's in its final form."""
    import onnxruntime as ort

    files = save_beside(model, out / f"{component.name}.{job.precision}.onnx")
    return Artifact(
        component=component.name,
        variant=job.precision,
        main=files[0].name,
        files=tuple(path.name for path in files),
        runtime=f"onnxruntime {ort.__version__}",
        macs=count_macs(component.model),
        notes=(*notes, _WHY.format(size=weight_bytes(model) / 1e9)),
        proves=_PROVES,
    )
