"""The peer of the LiteRT target: onnx2tf 2.6.9 in an environment of its own, made on first use.

The environment (675 MB: its pins can't live beside current packages) lies in the user's cache folder,
never in the repository; remove the folder to be rid of it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

VERSION = "2.6.9"
WORKER = Path(__file__).with_name("onnx2tf_worker.py")


@dataclass(frozen=True)
class Request:
    """One conversion: `options` are keyword arguments of `onnx2tf.convert`."""

    name: str
    model: Path
    folder: Path
    options: dict[str, Any]

    def to_line(self) -> str:
        """The worker's form of it."""
        fields = {"name": self.name, "model": str(self.model), "folder": str(self.folder)}
        return json.dumps({**fields, "options": self.options})


@dataclass(frozen=True)
class Result:
    """status: done, failed (it said no, with its reason) or crashed (the process died)."""

    name: str
    status: str
    reason: str = ""
    user_s: float = 0.0
    files: tuple[Path, ...] = ()

    def find_file(self, ending: str) -> Path | None:
        """The .tflite file whose name ends so, None where the peer wrote none."""
        return next((file for file in self.files if file.name.endswith(f"_{ending}.tflite")), None)


def cache_folder() -> Path:
    """Where environments and half-done runs are kept."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "edgekit-benchmarks"


def find_peer() -> Path:
    """The environment's folder, made if it is not there; SystemExit in one line where it can't be made."""
    folder = cache_folder() / f"onnx2tf-{VERSION}"
    if not (folder / "complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        print(f"making the environment of onnx2tf {VERSION} in {folder} (675 MB) ...", file=sys.stderr)
        _make(folder)
        (folder / "complete").touch()
    return folder


def _make(folder: Path) -> None:
    python = folder / "bin" / "python"
    steps = (
        [sys.executable, "-m", "venv", str(folder)],
        # It asks for Python 3.12 and runs on 3.11.
        [str(python), "-m", "pip", "install", "-q", "--ignore-requires-python", f"onnx2tf=={VERSION}"],
    )
    for step in steps:
        done = subprocess.run(step, capture_output=True, text=True, check=False)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise SystemExit(
                f"onnx2tf {VERSION} can't be installed, so there is nothing to compare: {reason}"
            )


def convert_all(requests: Sequence[Request], work: Path, *, seconds: int = 120) -> dict[str, Result]:
    """Every request in worker processes, one at a time; what `work` holds from an earlier run is kept.

    A request that kills its process is `crashed`; the next process goes on behind it.
    """
    work.mkdir(parents=True, exist_ok=True)
    command, results = make_command(requests, work, seconds), work / "results.jsonl"
    names = {request.name for request in requests}
    while names - read_results(results).keys():
        before = len(read_results(results))
        subprocess.run(command, cwd=work, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        if len(read_results(results)) == before:
            raise SystemExit(f"onnx2tf's worker does not start: {' '.join(command)}")
    return {name: result for name, result in read_results(results).items() if name in names}


def make_command(requests: Sequence[Request], work: Path, seconds: int) -> list[str]:
    """Write the request file; the command line of one worker process, which writes `work`/results.jsonl."""
    listed = work / "requests.jsonl"
    listed.write_text("".join(f"{request.to_line()}\n" for request in requests), encoding="utf-8")
    python = find_peer() / "bin" / "python"
    return [str(python), str(WORKER), str(listed), str(work / "results.jsonl"), str(seconds)]


def read_results(file: Path) -> dict[str, Result]:
    """Name -> what became of it; a request that was started and never ended is `crashed`."""
    found: dict[str, Result] = {}
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    for line in lines:
        fields = json.loads(line)
        if fields["status"] == "started":
            found[fields["name"]] = Result(fields["name"], "crashed", "the process died")
            continue
        files = tuple(Path(item) for item in fields.pop("files"))
        found[fields["name"]] = Result(**fields, files=files)
    return found
