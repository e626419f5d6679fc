"""The bundle's Mac side: Python scripts and Swift package as they are, job.json, a class for Xcode."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.target import DeviceRun
from edgekit.targets.coreml.package_io import package_of, read_ports
from edgekit.targets.coreml.swift_text import class_fields, fill

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgekit._values import Artifact
    from edgekit.target import Job
    from edgekit.targets.coreml.package_io import Port

FOLDER = "mac"
# What edgekit's own runner loads; the bundle's script has no use for it.
_RUNNER = "run_core_ml.py"
JOB_SCHEMA = "edgekit.coreml-job/1"
_ROOM = Path(__file__).parent
_SOURCES = "swift/Sources/EdgekitMac"
# Template -> where it goes in `mac/`.
_SWIFT = {
    "Package.swift": "swift/Package.swift",
    **{name: f"{_SOURCES}/{name}" for name in ("BundleFiles.swift", "Figures.swift", "Npy.swift")},
    **{name: f"{_SOURCES}/{name}" for name in ("Runner.swift", "main.swift")},
}


@dataclass(frozen=True)
class _Built:
    """One artifact with its package folder and what that takes and gives."""

    artifact: Artifact
    package: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]


def write_mac_side(artifacts: Sequence[Artifact], job: Job, out: Path) -> list[str]:
    """Write `mac/` into `out`, the folder that the artifacts' paths start from; the paths, relative to it.

    A class for Xcode comes for each artifact of the job's precision whose dtypes Swift has.
    """
    built = [_read(artifact, out) for artifact in artifacts]
    scripts = sorted(path for path in (_ROOM / "device").glob("*.py") if path.name != _RUNNER)
    texts = {path.name: path.read_text(encoding="utf-8") for path in scripts}
    templates = _ROOM / "templates"
    texts |= {place: (templates / name).read_text(encoding="utf-8") for name, place in _SWIFT.items()}
    texts["job.json"] = _job_text(built)
    for item in built:
        if item.artifact.variant == job.precision:
            texts |= _snippet(item)
    for name, text in texts.items():
        path = out / FOLDER / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
    return [f"{FOLDER}/{name}" for name in sorted(texts)]


def core_ml_run() -> DeviceRun:
    """How edgekit's runner loads a package on a Mac; elsewhere its script says that it needs one."""
    files = {name: _ROOM / "device" / name for name in (_RUNNER, "plan.py")}
    needs = 'python3 -m pip install "coremltools>=9.0"'
    return DeviceRun(files, runtime=_RUNNER.removesuffix(".py"), needs=needs)


def _read(artifact: Artifact, out: Path) -> _Built:
    package = package_of(artifact)
    return _Built(artifact, package, *read_ports(out / package))


def _job_text(built: Sequence[_Built]) -> str:
    rows: list[dict[str, Any]] = [
        {
            "component": item.artifact.component,
            "variant": item.artifact.variant,
            "package": item.package,
            "files": sorted(name for name in item.artifact.files if name.startswith(f"{item.package}/")),
            "inputs": [_row(port) for port in item.inputs],
            "outputs": [_row(port) for port in item.outputs],
        }
        for item in built
    ]
    return json.dumps({"schema": JOB_SCHEMA, "artifacts": rows}, indent=2, sort_keys=True) + "\n"


def _row(port: Port) -> dict[str, Any]:
    row = asdict(port)
    del row["shape"]  # the scripts take shapes from the golden data
    if port.dtype != "state":
        del row["result"]
    return row


def _snippet(item: _Built) -> dict[str, str]:
    name = _class_name(item.artifact.component)
    fields = class_fields(item.inputs, item.outputs, package=item.package, name=name)
    if fields is None:
        return {}
    template = (_ROOM / "templates" / "EdgekitModel.swift").read_text(encoding="utf-8")
    return {f"{name}.swift": fill(template, fields)}


def _class_name(component: str) -> str:
    words = "".join(char if char.isalnum() and char.isascii() else " " for char in component).split()
    return "Edgekit" + "".join(word[0].upper() + word[1:] for word in words)
