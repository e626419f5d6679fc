"""python -m scripts.fit.runtime_memory: what LiteRT and ONNX Runtime take here, beside what is planned.

Each model runs in a process of its own under each runtime, on the CPU. Anonymous memory (not
the mapped file) is read after the runtime is loaded with a model of one addition, after the model is loaded,
and after one run; the last step is held against the plan by last use. Writes scripts/fit/memory.csv.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import TensorProto, helper

import edgekit
from tests.models import package_model

if TYPE_CHECKING:
    from collections.abc import Callable

    Run = Callable[[], object]
    Feeds = dict[str, np.ndarray]

TABLE = Path(__file__).parent / "memory.csv"
COLUMNS = ("runtime", "model", "own", "planned", "run")
SHAPES = {
    "ppocr-det": "x=1,3,640,640",
    "ppocr-rec": "x=1,3,48,640",
    "ppocr-cls": "x=1,3,48,192",
    "magika": "bytes=1,2048",
    "basic-pitch": "serving_default_input_2:0=1,43844,1",
}


def read_anonymous() -> int:
    """Bytes of this process that lie in no file."""
    for line in Path("/proc/self/smaps_rollup").read_text(encoding="utf-8").splitlines():
        if line.startswith("Anonymous:"):
            return 1024 * int(line.split()[1])
    raise SystemExit("this kernel does not tell anonymous memory")


def open_litert(path: Path, feeds: Feeds) -> Run:
    """Load a .tflite under XNNPACK, as every app does; it plans its own memory when it first runs."""
    from ai_edge_litert.interpreter import Interpreter

    made = Interpreter(str(path), num_threads=1)
    made.allocate_tensors()
    for row, data in zip(made.get_input_details(), feeds.values(), strict=True):
        made.set_tensor(row["index"], np.resize(data, row["shape"]).astype(row["dtype"]))
    return made.invoke


def open_onnxruntime(path: Path, feeds: Feeds) -> Run:
    """Load an .onnx whose arena grows by what is asked for."""
    import onnxruntime as ort

    words = ort.SessionOptions()
    words.intra_op_num_threads = 1
    provider = ("CPUExecutionProvider", {"arena_extend_strategy": "kSameAsRequested"})
    made = ort.InferenceSession(str(path), words, providers=[provider])
    return lambda: made.run(None, feeds)


OPEN = {"litert": open_litert, "onnxruntime": open_onnxruntime}


def measure(runtime: str, model: str, small: Path, path: Path) -> dict[str, int]:
    """Bytes, in this process: the runtime's own, and what the first run added."""
    start = read_anonymous()
    OPEN[runtime](small, {"x": np.zeros((1, 4), np.float32)})()
    own = read_anonymous()
    run = OPEN[runtime](path, feeds_of(model))
    loaded = read_anonymous()
    run()
    return {"own": own - start, "run": read_anonymous() - loaded}


def feeds_of(model: str) -> Feeds:
    """Zeros for the model's input."""
    name, _, dims = SHAPES[model].rpartition("=")
    kind = np.int32 if model == "magika" else np.float32
    return {name: np.zeros([int(dim) for dim in dims.split(",")], kind)}


def main() -> None:
    """Every model under both runtimes."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        small = folder / "small.onnx"
        _write_small(small)
        tiny = {"onnxruntime": small, "litert": _convert(small, None, folder / "small")}
        for model, shape in SHAPES.items():
            source = package_model(model)
            paths = {"onnxruntime": source, "litert": _convert(source, shape, folder / model)}
            work = edgekit.estimate(source, shapes=shape, devices="raspberry-pi-5").work["model"]
            for runtime, path in paths.items():
                command = [sys.executable, "-m", __spec__.name, runtime, model, tiny[runtime], path]
                made = subprocess.run([*map(str, command)], capture_output=True, text=True, check=True)
                planned = {"runtime": runtime, "model": model, "planned": work.peak_activations}
                rows.append(planned | json.loads(made.stdout))
    with TABLE.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _write_small(path: Path) -> None:
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Add", ["x", "x"], ["y"])], "g", ends[:1], ends[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def _convert(source: Path, shape: str | None, folder: Path) -> Path:
    edgekit.convert(
        source, targets=["litert"], output=folder, precisions=["fp32"], samples="random", shapes=shape
    )
    return next(folder.rglob("*.tflite"))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        told = measure(sys.argv[1], sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
        print(json.dumps(told))  # noqa: T201 - read by the process that asked
    else:
        main()
