"""What one conversion to float32 .tflite costs: edgekit beside onnx2tf 2.6.9, on PP-OCR cls (a small CNN).

    python -m benchmarks.litert_convert [MODEL]     (a minute; names are in litert_models.py)

Every line is a process of its own on one core: user and system CPU, peak memory, start and imports
included. `warm` is the CPU of a second conversion in one process, so without start and imports. The peer
refuses PP-OCR cls as it is and gets edgekit's prepared graph (fixed shapes, folded, BatchNorms fused);
edgekit is measured on both. `conversion` reads the ONNX file, prepares, plans, checks, lowers and writes
the .tflite file, and proves nothing; `edgekit convert` is the whole command with an empty cache: proof,
bundle, and for int8 calibration.
"""

from __future__ import annotations

import resource
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.measure import Cost, Jobs, print_table, run_job, run_process, serve_job

NAME = "benchmarks.litert_convert"
SECONDS = 300
Row = tuple[object, ...]


def prepare(work: str, name: str) -> str:
    """Samples and both sources; where edgekit's source lies."""
    from benchmarks.litert import prepare as prepare_model

    return prepare_model(work, name)


def convert_with_edgekit(work: str, name: str, source: str, times: str) -> float:
    """The conversion without proof, so often; user CPU seconds of the last one."""
    from benchmarks.litert_models import MODELS
    from edgekit._plan import prepare_source
    from edgekit._recipe import Recipe
    from edgekit.registry import resolve_target
    from edgekit.sources.onnx_file import load_onnx
    from edgekit.target import Job

    spent = 0.0
    for _ in range(int(times)):
        start = resource.getrusage(resource.RUSAGE_SELF).ru_utime
        target = resolve_target("litert")
        recipe = Recipe.of(source, targets="litert", precisions="fp32", shapes=MODELS[name].shapes)
        prepared = prepare_source(load_onnx(source), [target], recipe).component
        job = Job(target.device, "fp32")
        target.target.check([prepared], job)
        target.target.build([prepared], job, Path(work))
        spent = resource.getrusage(resource.RUSAGE_SELF).ru_utime - start
    return spent


def convert_whole(work: str, name: str, source: str, precision: str) -> bool:
    """`edgekit convert` with proof and bundle; whether the bundle passed."""
    import edgekit
    from benchmarks.litert_models import MODELS

    result = edgekit.convert(
        source,
        targets="litert",
        precisions=precision,
        samples=Path(work) / "calibration",
        shapes=MODELS[name].shapes,
        output=Path(work) / precision,
        cache="off",
    )
    return result.passed


JOBS: Jobs = {"prepare": prepare, "edgekit": convert_with_edgekit, "whole": convert_whole}


def run_peer(work: Path, *, times: int) -> tuple[Cost, Any]:
    """The peer on the prepared graph, so often in one process: its cost, and the last conversion's line."""
    from benchmarks.onnx2tf_peer import ONNX2TF
    from benchmarks.peer_process import Request, make_command, read_results

    folder = work / f"peer{times}"
    folder.mkdir()
    requests = [
        Request(str(index), work / "prepared.onnx", folder / str(index), {}) for index in range(times)
    ]
    cost = run_process(make_command(ONNX2TF, requests, folder, seconds=SECONDS))
    return cost, read_results(folder / "results.jsonl")[str(times - 1)]


def make_row(title: str, cost: Cost, warm: float | None = None) -> Row:
    """One line of the table."""
    return title, cost.user_s, cost.system_s, "" if warm is None else warm, round(cost.peak_mb)


def measure(name: str, work: Path) -> list[Row]:
    """All lines."""
    source = run_job(NAME, "prepare", work, name).result
    once, twice = run_peer(work, times=1), run_peer(work, times=2)
    rows = [make_row("onnx2tf, prepared graph", once[0], twice[1].user_s)]
    for title, file in (("prepared graph", work / "prepared.onnx"), ("the file as it is", source)):
        first, second = (run_job(NAME, "edgekit", work, name, file, times) for times in (1, 2))
        rows.append(make_row(f"edgekit conversion, {title}", first, second.result))
    for precision in ("fp32", "int8"):
        whole = run_job(NAME, "whole", work, name, source, precision)
        rows.append(make_row(f"edgekit convert --precision {precision}", whole))
    return rows


def main() -> None:
    """One table."""
    if serve_job(JOBS):
        return
    from benchmarks.onnx2tf_peer import ONNX2TF
    from benchmarks.peer_process import find_environment

    find_environment(ONNX2TF)
    name = sys.argv[1] if len(sys.argv) > 1 else "ppocr-cls"
    with tempfile.TemporaryDirectory() as work:
        rows = measure(name, Path(work))
    print_table(f"One conversion of {name}, one core", ("", "user s", "system s", "warm s", "peak MB"), rows)


if __name__ == "__main__":
    main()
