"""One prepared component -> its OpenVINO IR: an .xml of the graph and a .bin of the weights."""

from __future__ import annotations

import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit._values import Artifact
from edgekit.errors import ModelError, TargetError
from edgekit.passes.serialize_model import save_model
from edgekit.targets.openvino.artifact_macs import count_macs
from edgekit.targets.openvino.settle_names import settle_names

if TYPE_CHECKING:
    from edgekit._values import Component
    from edgekit.target import Job

PROVES = (
    "this host's CPU ran the IR itself in OpenVINO: it loads, and its graph, weights and integer kernels "
    "give these numbers. No Intel GPU or NPU was used, and latency is not shown"
)


def build_component(component: Component, job: Job, out: Path) -> Artifact:
    """Write `<component>.<precision>.xml` and `.bin` into `out`; the component's model stays unchanged.

    Float weights are stored as float16 in the fp16 variant and as float32 in all others. ModelError names
    what OpenVINO's ONNX frontend has no rule for.
    """
    try:
        import openvino as ov
    except ImportError as error:
        raise TargetError("openvino is not installed", fix='pip install "openvino>=2026.1"') from error
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "model.onnx"
        save_model(component.model, path)
        model = _convert(ov, path, component)
        settle_names(model, component.model)
        stem = f"{component.name}.{job.precision}"
        ov.save_model(model, str(out / f"{stem}.xml"), compress_to_fp16=job.precision == "fp16")
    saved = ov.Core().read_model(str(out / f"{stem}.xml"))
    count = count_macs(saved, {name: [dim.high for dim in dims] for name, dims in job.shapes.items()})
    return Artifact(
        component=component.name,
        variant=job.precision,
        main=f"{stem}.xml",
        files=(f"{stem}.xml", f"{stem}.bin"),
        runtime=f"openvino {version('openvino')}",
        macs=count.macs,
        notes=(count.words,) if count.words else (),
        proves=PROVES,
    )


def _convert(ov: Any, path: Path, component: Component) -> Any:
    """As openvino.convert_model does it, without the usage report that it sends."""
    from openvino._offline_transformations import apply_moc_transformations

    try:
        model = ov.Core().read_model(str(path))
        apply_moc_transformations(model, cf=True, smart_reshape=False)
        return model
    except Exception as error:
        lines = [line.strip(" -") for line in str(error).splitlines() if line.strip(" -")]
        told = next((line for line in lines if "No conversion rule" in line), lines[-1] if lines else "")
        raise ModelError(
            f"component '{component.name}': OpenVINO does not take the model: {told[:300]}",
            fix="re-export without these operators, or use another target",
        ) from error
