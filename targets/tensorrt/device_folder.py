"""The bundle's device side: the scripts as they are, and job.json (what to build, with which shapes)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx

from edgekit.errors import ModelError
from edgekit.target import DeviceRun
from edgekit.targets.tensorrt import tensorrt_version

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgekit._values import Artifact, DimRange, ShapeSpec
    from edgekit.target import Job

SCRIPTS = Path(__file__).parent / "device"
FOLDER = "device"
JOB_SCHEMA = "edgekit.tensorrt-job/1"


def scripts() -> list[Path]:
    """The device scripts, sorted by name: standard-library Python 3.8 and one shell script."""
    return sorted(path for path in SCRIPTS.iterdir() if path.suffix in (".py", ".sh"))


def write_device_folder(artifacts: Sequence[Artifact], job: Job, out: Path) -> list[str]:
    """`device/` in `out`: scripts and job.json; `out` is the folder that the artifacts' paths start from."""
    folder = out / FOLDER
    folder.mkdir(exist_ok=True)
    for path in scripts():
        copy = folder / path.name
        copy.write_bytes(path.read_bytes())
        copy.chmod(0o755 if path.suffix == ".sh" else 0o644)
    text = json.dumps(describe_job(artifacts, job, out), indent=2, sort_keys=True) + "\n"
    (folder / "job.json").write_text(text, encoding="utf-8")
    return [f"{FOLDER}/{name}" for name in sorted([*(path.name for path in scripts()), "job.json"])]


def describe_job(artifacts: Sequence[Artifact], job: Job, out: Path) -> dict[str, Any]:
    """What the scripts read: TensorRT version, and per component and variant the files and input shapes."""
    components: dict[str, list[dict[str, Any]]] = {}
    for artifact in artifacts:
        entry = {
            "variant": artifact.variant,
            "files": [artifact.main, *(name for name in artifact.files if name != artifact.main)],
            "inputs": _inputs(out / artifact.main, job.shapes_of(artifact.component)),
        }
        components.setdefault(artifact.component, []).append(entry)
    return {
        "schema": JOB_SCHEMA,
        "tensorrt": tensorrt_version(job.device),
        "software": job.device.software,
        "components": [{"name": name, "variants": entries} for name, entries in components.items()],
    }


def runner(artifact: Artifact) -> DeviceRun:
    """The scripts, and one command that proves and times this artifact on the device.

    The command runs beside a bundle: its working directory is the bundle's folder.
    """
    command: tuple[str, ...] = ("sh", f"{FOLDER}/run.sh", "all", f"--component={artifact.component}")
    # An INT8 figure is only worth something beside FP16, so that variant is timed with it.
    if artifact.variant != "int8":
        command = (*command, f"--variant={artifact.variant}")
    files = {f"{FOLDER}/{path.name}": path for path in scripts()}
    timing = ("--rounds={rounds}", "--seconds={seconds}")
    return DeviceRun(
        files, (command,), needs="sudo apt install tensorrt", timing=timing, soak="--soak={soak}"
    )


def _inputs(path: Path, shapes: ShapeSpec) -> list[dict[str, Any]]:
    """Name, type and min/opt/max shapes of each graph input, from the written file and the ranges given.

    opt is the largest size: an engine is tuned for it, and smaller ones run at its choices.
    """
    graph = onnx.load(path, load_external_data=False).graph
    weights = {tensor.name for tensor in graph.initializer}
    return [_input(value, shapes) for value in graph.input if value.name not in weights]


def _input(value: onnx.ValueInfoProto, shapes: ShapeSpec) -> dict[str, Any]:
    tensor = value.type.tensor_type
    given = shapes.get(value.name, ())
    low, high, dynamic = [], [], False
    for axis, dim in enumerate(tensor.shape.dim):
        if dim.HasField("dim_value"):
            low.append(dim.dim_value)
            high.append(dim.dim_value)
            continue
        dynamic = True
        wanted = _range(given, axis, value.name)
        low.append(wanted.low)
        high.append(wanted.high)
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
    return {"name": value.name, "dtype": dtype, "dynamic": dynamic, "min": low, "opt": high, "max": high}


def _range(given: Sequence[DimRange], axis: int, name: str) -> DimRange:
    if axis >= len(given):
        raise ModelError(
            f"input '{name}': dim {axis} has neither a size nor a range, which an engine needs",
            fix=f"give --shape {name}=... with a size or LOW..HIGH for it",
        )
    return given[axis]
