"""A peer in an environment of its own, made on first use, and its conversions in worker processes.

Environments lie in the user's cache folder, never in the repository; remove a folder to be rid of it.
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

WORKER = Path(__file__).with_name("peer_worker.py")


@dataclass(frozen=True)
class Peer:
    """route: the worker's name for it. version: of the package that gives it its name.

    installs: arguments of each `pip install`, in order. megabytes: what the environment takes on disk.
    """

    route: str
    version: str
    installs: tuple[tuple[str, ...], ...]
    megabytes: int

    @property
    def title(self) -> str:
        return f"{self.route} {self.version}"


@dataclass(frozen=True)
class Request:
    """One conversion; what `options` mean is the route's (see peer_worker)."""

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
        """The file whose name ends so, None where the peer wrote none."""
        return next((file for file in self.files if file.name.endswith(ending)), None)


def cache_folder() -> Path:
    """Where environments and half-done runs are kept."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "edgekit-benchmarks"


def find_environment(peer: Peer) -> Path:
    """The environment's folder, made if it is not there; SystemExit in one line where it can't be made."""
    folder = cache_folder() / f"{peer.route}-{peer.version}"
    if not (folder / "complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        print(
            f"making the environment of {peer.title} in {folder} ({peer.megabytes} MB) ...", file=sys.stderr
        )
        _make(peer, folder)
        (folder / "complete").touch()
    return folder


def _make(peer: Peer, folder: Path) -> None:
    python = folder / "bin" / "python"
    install = [str(python), "-m", "pip", "install", "-q"]
    for step in ([sys.executable, "-m", "venv", str(folder)], *([*install, *more] for more in peer.installs)):
        done = subprocess.run(step, capture_output=True, text=True, check=False)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise SystemExit(f"{peer.title} can't be installed, so there is nothing to compare: {reason}")


def convert_all(peer: Peer, requests: Sequence[Request], work: Path, *, seconds: int) -> dict[str, Result]:
    """Every request in worker processes, one at a time; what `work` holds from an earlier run is kept.

    A request that kills its process is `crashed`; the next process goes on behind it.
    """
    work.mkdir(parents=True, exist_ok=True)
    command, results = make_command(peer, requests, work, seconds=seconds), work / "results.jsonl"
    names = {request.name for request in requests}
    while names - read_results(results).keys():
        before = len(read_results(results))
        subprocess.run(command, cwd=work, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        if len(read_results(results)) == before:
            raise SystemExit(f"the worker of {peer.title} does not start: {' '.join(command)}")
    return {name: result for name, result in read_results(results).items() if name in names}


def make_command(peer: Peer, requests: Sequence[Request], work: Path, *, seconds: int) -> list[str]:
    """Write the request file; the command line of one worker process, which writes `work`/results.jsonl."""
    listed = work / "requests.jsonl"
    listed.write_text("".join(f"{request.to_line()}\n" for request in requests), encoding="utf-8")
    python = find_environment(peer) / "bin" / "python"
    results = work / "results.jsonl"
    return [str(python), str(WORKER), peer.route, str(listed), str(results), str(seconds)]


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
