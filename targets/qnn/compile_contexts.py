"""One prepared ONNX file -> a context binary for each chip, with the EPContext model that loads it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.errors import TargetError
from edgekit.targets.qnn.library import refuse_missing
from edgekit.targets.qnn.partition import read_partition

if TYPE_CHECKING:
    from edgekit.targets.qnn.chips import Chip
    from edgekit.targets.qnn.partition import Partition

MODEL, _TRACE = "model.onnx", "qnn_op_trace.json"
_LONGEST_S = 3600
# Words of the compiler's failures -> what they mean for the user.
_FAILURES = (
    (
        "MEM_ALLOC",
        "the graph needs more memory than the chip gives it (VTCM, context), or computes in float on an "
        "HTP that has none",
        "cut the model into components or use smaller shapes; on a chip before v73 quantize every node",
    ),
    ("exceed", "the graph passes a limit of the HTP", "cut the model into components, or use smaller shapes"),
)


@dataclass(frozen=True)
class Context:
    """What one chip's compile gave: `folder` holds MODEL and its binary, `trace` which ops they came from."""

    chip: Chip
    folder: str
    trace: str
    partition: Partition


def compile_context(model: Path, chip: Chip, *, out: Path, folder: str, vtcm_mb: int = 0) -> Context:
    """Compile into `out`/`folder`. MissingToolError without the library, TargetError where it fails."""
    refuse_missing()
    if model.with_name(f"{model.name}.data").exists():
        raise TargetError(
            f"'{model.name}' has its weights in a file beside it, and Qualcomm's compiler is given one "
            "message of less than 2 GB",
            fix="cut the model into components, or take --option qnn.weights=int4",
        )
    place = out / folder
    place.mkdir()
    with tempfile.TemporaryDirectory(prefix="edgekit-") as scratch:
        result = Path(scratch) / "result.json"
        request = Path(scratch) / "request.json"
        job = {
            "model": str(model),
            "folder": str(place),
            "name": MODEL,
            "htp_arch": str(chip.htp_arch),
            "soc_model": str(chip.soc_model),
            "vtcm_mb": str(vtcm_mb),
            "result": str(result),
        }
        request.write_text(json.dumps(job), encoding="utf-8")
        problem = _run(request, result)
    if not problem and not (place / MODEL).is_file():
        problem = "it wrote no context: no node of the graph has a form on the HTP"
    if problem:
        raise _failure(problem, chip)
    # Beside the folder: no phone loads it.
    trace = out / f"{folder}.op_trace.json"
    (place / _TRACE).replace(trace)
    return Context(chip, folder, trace.name, read_partition(trace))


def _run(request: Path, result: Path) -> str:
    """What went wrong, "" for nothing."""
    command = [sys.executable, "-m", "edgekit.targets.qnn.worker", str(request)]
    environment = {name: value for name, value in os.environ.items() if name != "EDGEKIT_QNN_WORKER"}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, timeout=_LONGEST_S, check=False)
    except subprocess.TimeoutExpired:
        return f"it was still at work after {_LONGEST_S // 60} minutes"
    if not result.is_file():
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
        return f"it ended with status {done.returncode}: {last[0]}"
    problem: str = json.loads(result.read_text(encoding="utf-8"))["problem"]
    return problem


def _failure(problem: str, chip: Chip) -> TargetError:
    for words, meaning, way_out in _FAILURES:
        if words in problem:
            return TargetError(
                f"Qualcomm's compiler fails for {chip.name} (v{chip.htp_arch}): {meaning} ({problem[:300]})",
                fix=way_out,
            )
    return TargetError(
        f"Qualcomm's compiler fails for {chip.name} (v{chip.htp_arch}): {problem[:400]}",
        fix="keep the node it names in float with --float, or convert without it",
    )
