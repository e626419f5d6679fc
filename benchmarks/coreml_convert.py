"""ONNX to .mlpackage: edgekit's own CPU time beside coremltools' passes and serialization, and peak memory.

    python -m benchmarks.coreml_convert     (half a minute)

PP-OCRv4 det (640x640), rec (48x320) and cls (48x192) as fp16 programs, and ResNet-50 (224x224, seeded random
weights), whose memory is that of its weights and not of its operators. edgekit's part is reading and
preparing the model, lowering it, giving it to coremltools' Builder and writing the package; coremltools'
part is `coremltools.convert`. Each job builds a model of one Relu first, so that nobody's imports are
counted. Memory is peak resident: what preparing the model (for any target) adds to the Relu alone, and
what the rest of the way adds to that. Linux only.
"""

from __future__ import annotations

import os
import resource
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from benchmarks.measure import Jobs, print_table, run_job, serve_job

if TYPE_CHECKING:
    from collections.abc import Callable

    Shape = tuple[int, ...]
    Result = TypeVar("Result")

NAME = "benchmarks.coreml_convert"
SHAPES = {
    "det": (1, 3, 640, 640),
    "rec": (1, 3, 48, 320),
    "cls": (1, 3, 48, 192),
    "resnet50": (1, 3, 224, 224),
}
PARTS = ("prepare", "lower", "Builder", "package")
LEVEL = 17


def build_relu(work: str) -> dict[str, float]:
    """The smallest model through the same way: what all imports cost."""
    import onnxruntime  # noqa: F401 - preparing a model runs its constants, and the Relu has none
    from onnx import TensorProto, helper, save

    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", ports[:1], ports[1:])
    path = Path(work) / "relu.onnx"
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return build(path, (1, 4))


def build_model(kind: str, work: str) -> dict[str, float]:
    """User CPU seconds of each part, and the size of the ONNX file in MB."""
    build_relu(work)
    path = Path(find_file(kind, work))
    size = sum(file.stat().st_size for file in path.parent.glob(f"{path.stem}*"))
    return {**build(path, SHAPES[kind]), "model_mb": size / (1 << 20)}


def find_file(kind: str, work: str) -> str:
    """A model's ONNX file; ResNet-50 is exported the first time."""
    from examples.rendered_text import find_model

    if kind != "resnet50":
        return str(find_model(kind))  # type: ignore[arg-type]
    folder = Path(work) / kind
    if not folder.exists():
        import edgekit

        edgekit.export("benchmarks.torch_models:resnet50", folder)
    return str(next(folder.rglob("*.onnx")))


def build(path: Path, shape: Shape) -> dict[str, float]:
    """User CPU seconds of each part of one build."""
    from edgekit._values import DimRange
    from edgekit.passes.expand_functions import expand_functions
    from edgekit.passes.prepare_component import prepare_component
    from edgekit.sources.onnx_file import load_onnx
    from edgekit.targets.coreml.expansion import ops_to_expand
    from edgekit.targets.coreml.lower import lower_component
    from edgekit.targets.coreml.write_package import lower_program, quiet, write_package
    from edgekit.targets.coreml.write_program import ProgramWriter

    spent: dict[str, float] = {}

    def timed(part: str, work: Callable[[], Result]) -> Result:
        start = os.times().user
        result = work()
        spent[part] = spent.get(part, 0.0) + os.times().user - start
        return result

    shapes = {"x": tuple(DimRange(size, size) for size in shape)}
    component = timed("prepare", lambda: prepare_component(load_onnx(path), shapes=shapes))
    timed("prepare", lambda: expand_functions(component.model, ops_to_expand()))
    spent["prepared_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    graph = timed("lower", lambda: lower_component(component, LEVEL).graph)
    with quiet():
        program = timed("Builder", ProgramWriter(graph, LEVEL).write)
    model = timed("coremltools", lambda: lower_program(program, LEVEL, "fp16"))
    with tempfile.TemporaryDirectory() as folder:
        timed("package", lambda: write_package(model, Path(folder) / "m.mlpackage", {}))
    return spent


JOBS: Jobs = {"relu": build_relu, "model": build_model, "find": find_file}


def main() -> None:
    """Print one row a model."""
    if serve_job(JOBS):
        return
    rows = []
    with tempfile.TemporaryDirectory() as work:
        base = run_job(NAME, "relu", work).peak_mb
        for kind in SHAPES:
            run_job(NAME, "find", kind, work)
            cost = run_job(NAME, "model", kind, work)
            part = cost.result
            own = [part[name] for name in PARTS]
            memory = [part["prepared_mb"] - base, cost.peak_mb - part["prepared_mb"]]
            rows.append([kind, sum(own), *own, part["coremltools"], part["model_mb"], *memory])
    header = ["model", "edgekit", *PARTS, "coremltools", "model MB", "prepare MB", "Core ML MB"]
    print_table(f"fp16: user CPU seconds; peak of the Relu alone: {base:.0f} MB", header, rows)


if __name__ == "__main__":
    main()
