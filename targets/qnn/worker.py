"""Compiles one model in a process of its own: `python -m edgekit.targets.qnn.worker REQUEST.json`.

The compiler numbers its operators by a count of the process and orders them by addresses, so the same bytes
come out only of a fresh process whose addresses are not randomized. A crash in it ends no convert either.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from pathlib import Path

_ADDR_NO_RANDOMIZE = 0x0040000
_MARK = "EDGEKIT_QNN_WORKER"


def main(request: Path) -> None:
    """Write the context's files into the request's folder, and what went wrong ("" for nothing) as JSON."""
    if not os.environ.get(_MARK):
        os.environ[_MARK] = "1"
        # Where a sandbox forbids it, the bytes vary between runs; they are right all the same.
        ctypes.CDLL(None).personality(_ADDR_NO_RANDOMIZE)
        os.execv(sys.executable, [sys.executable, "-m", __spec__.name, str(request)])
    job = json.loads(request.read_text(encoding="utf-8"))
    problem = ""
    try:
        compile_model(job)
    except Exception as error:  # noqa: BLE001 - told by the parent, as one error of its own
        problem = str(error) or type(error).__name__
    Path(job["result"]).write_text(json.dumps({"problem": problem}), encoding="utf-8")


def compile_model(job: dict[str, str]) -> None:
    """One context, by the compiler of the installed wheel; raises what that raises."""
    from edgekit.targets.qnn.library import open_session

    model = Path(job["model"]).read_bytes()  # by its bytes: the path would become a part of the graph's name
    provider = {
        "htp_arch": job["htp_arch"],
        "soc_model": job["soc_model"],
        "htp_graph_finalization_optimization_mode": "3",
        "enable_framework_op_trace": "1",
        "framework_op_trace_dir": job["folder"],
    }
    if job["vtcm_mb"] != "0":
        provider["vtcm_mb"] = job["vtcm_mb"]
    entries = {
        "ep.context_enable": "1",
        "ep.context_embed_mode": "0",
        "ep.context_file_path": str(Path(job["folder"]) / job["name"]),
    }
    open_session(model, provider, entries)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
