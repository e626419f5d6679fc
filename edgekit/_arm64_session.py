"""An artifact in the real aarch64 wheels, run under qemu-user: ARM's own code paths on this host."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit._cache import default_root
from edgekit.errors import CannotRunHere, MissingToolError, SamplesError
from edgekit.profiles import probes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgekit._values import Artifact
    from edgekit.target import DeviceRun

_PROBES = Path(probes.__file__).parent
_SETUP = _PROBES / "setup_qemu_arm64.sh"
_WORKER = _PROBES / "device" / "worker.py"
_LEAST = (10, 0)  # Debian bookworm's own 7.2 crashes when onnxruntime is imported
_ANSWER_LIMIT = 1 << 20


@dataclass(frozen=True)
class Arm64:
    """qemu-user, an arm64 root with Python, and the wheels that lie unpacked in `site`."""

    program: Path
    root: Path
    site: Path
    version: str

    def python(self, *words: str) -> list[str]:
        """The command line of the arm64 Python with these words."""
        return [str(self.program), "-L", str(self.root), str(self.root / "usr/bin/python3.11"), "-B", *words]

    def refuse_other_wheels(self, needs: str) -> None:
        """See that the packages of a `pip install ...` line lie in `site`, the runtime in the host's version.

        CannotRunHere where one is none of them, MissingToolError where the version is another.
        """
        for word in needs.rpartition("pip install ")[2].split():
            name = re.split(r"[<>=~!\[]", word.strip("'\""))[0]
            found = next(self.site.glob(f"{name.replace('-', '_')}-*.dist-info"), None)
            if found is None:
                raise CannotRunHere(
                    f"{name} is not among the aarch64 wheels of {self.site}", fix="verify it without --on"
                )
            there = found.name.removesuffix(".dist-info").rpartition("-")[2]
            if name != "numpy" and there != version(name):
                raise MissingToolError(
                    f"the aarch64 wheel is {name} {there}, and this host runs {version(name)}",
                    fix=_setup_line(self.site.parent),
                )

    def environment(self) -> dict[str, str]:
        """This process's own, with the arm64 Python's folders."""
        return {**os.environ, "PYTHONHOME": str(self.root / "usr"), "PYTHONPATH": str(self.site)}


def _setup_line(folder: Path) -> str:
    """The command that makes `folder`, with the wheels of this Python's own versions."""
    return f"PYTHON={sys.executable} bash {_SETUP} {folder}"


def find_arm64(folder: Path | None = None) -> Arm64:
    """What scripts/qemu-arm64 put into `folder` (None: the cache's).

    MissingToolError, with the command that makes it, where it is not there or its qemu is too old.
    """
    folder = folder or default_root() / "qemu-arm64"
    program = folder / "qemu" / "usr" / "bin" / "qemu-aarch64"
    if not program.is_file():
        raise MissingToolError(f"no ARM64 system is set up in {folder}", fix=_setup_line(folder))
    told = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=60, check=False)
    match = re.search(r"version (\d+)\.(\d+)(\S*)", told.stdout)
    found = "of unknown version" if match is None else f"{match[1]}.{match[2]}{match[3]}"
    if match is None or (int(match[1]), int(match[2])) < _LEAST:
        least = ".".join(map(str, _LEAST))
        raise MissingToolError(
            f"qemu-user {found} is too old: before {least} it crashes when onnxruntime is imported",
            fix=f"{_setup_line(folder)} (it takes {least} from Debian's backports, without root)",
        )
    return Arm64(program, folder / "root", folder / "site", found)


class Arm64Session:
    """One artifact, loaded once by its target's device script in one emulated process."""

    def __init__(self, artifact: Artifact, folder: Path, run: DeviceRun, arm64: Arm64) -> None:
        if not run.runtime:
            raise CannotRunHere(
                f"the runtime of {artifact.main} has no Python on ARM Linux", fix="verify it without --on"
            )
        arm64.refuse_other_wheels(run.needs)
        self._artifact, self._model = artifact, (folder / artifact.main).resolve()
        self._run, self._arm64 = run, arm64
        self._scratch = tempfile.TemporaryDirectory(prefix="edgekit-")
        self._folder = Path(self._scratch.name)
        self._process: subprocess.Popen[str] | None = None
        #: As the runtime names itself, once it is loaded.
        self.runtime = ""

    def run(self, feeds: Mapping[str, np.ndarray], taps: Sequence[str] = ()) -> dict[str, np.ndarray]:
        """All outputs by name; taps do not exist here."""
        del taps
        sample = self._write(feeds)
        if self._process is None:
            self._start(sample)
        answer = self._ask("golden", samples=[sample])
        found = answer["samples"][0]
        return {name: self._from_file(name, np.load(self._folder / file)) for name, file in found.items()}

    def close(self) -> None:
        """End the process and remove its files."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for stream in (self._process.stdin, self._process.stdout):
                if stream is not None:
                    stream.close()
        self._scratch.cleanup()

    def _write(self, feeds: Mapping[str, np.ndarray]) -> dict[str, str]:
        written = {}
        for place, (name, value) in enumerate(sorted(feeds.items())):
            layout = self._artifact.layouts.get(name) if value.ndim == 4 else None
            file = self._folder / f"input-{place}.npy"
            np.save(file, np.ascontiguousarray(value.transpose(0, 2, 3, 1) if layout == "NHWC" else value))
            written[name] = str(file)
        return written

    def _from_file(self, name: str, value: np.ndarray) -> np.ndarray:
        layout = self._artifact.layouts.get(name) if value.ndim == 4 else None
        return value.transpose(0, 3, 1, 2) if layout == "NHWC" else value

    def _start(self, sample: Mapping[str, str]) -> None:
        for source in (_WORKER, *self._run.files.values()):
            (self._folder / source.name).write_bytes(source.read_bytes())
        worker = {"index": 0, "runtime": self._run.runtime, "model": str(self._model), "threads": 1}
        worker |= {"accelerator": "", "samples": [sample]}
        (self._folder / "job.json").write_text(json.dumps({"workers": [worker]}), encoding="utf-8")
        self._process = subprocess.Popen(
            self._arm64.python(str(self._folder / "worker.py"), str(self._folder / "job.json"), "0"),
            env=self._arm64.environment(),
            cwd=self._folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(self._folder / "stderr").open("wb"),
            text=True,
        )
        self.runtime = str(self._ask("load")["runtime"])

    def _ask(self, command: str, **words: object) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({"command": command, **words}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline(_ANSWER_LIMIT)
        except BrokenPipeError:
            line = ""
        if not line:
            told = (self._folder / "stderr").read_text(encoding="utf-8", errors="replace").strip()
            last = told.splitlines()[-1:] or ["it said nothing"]
            raise CannotRunHere(
                f"the emulated process ended: {last[0][:300]}",
                fix=f"set it up again: {_setup_line(self._arm64.site.parent)}",
            )
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise SamplesError(
                f"{self._artifact.main} fails on emulated ARM64: {answer['error'][:300]}",
                fix="see that the wheel set up there is the version that the manifest names",
            )
        return answer
