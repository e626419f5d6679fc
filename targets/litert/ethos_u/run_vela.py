"""Runs Arm's Vela on one .tflite file in a folder of its own, and reads what it says."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit._values import Gap
from edgekit.errors import GapError, MissingToolError, TargetError

if TYPE_CHECKING:
    from edgekit.targets.litert.ethos_u.options import Options

_SECONDS = 1800
_INI = "Arm/vela.ini"
# "Error: HARD_SWISH 't66' Does not have valid TFLite Semantics." and the lines that say why.
_REFUSED = re.compile(r"Error: (?P<op>[A-Z0-9_]+) '(?P<name>[^']*)' (?P<why>.*?)(?:\n\n|\Z)", re.DOTALL)
_LEFT = re.compile(
    r"Warning \(supported operators\) operator: (?P<op>\w+), ofm: '(?P<name>.*)'\nReason: (?P<why>.*)"
)


@dataclass(frozen=True)
class Place:
    """One operator of the compiled graph: where it runs, and Vela's cycles there (0 on the CPU)."""

    operator: str
    tensor: str
    unit: str
    cycles: float
    macs: int
    reason: str = ""


@dataclass(frozen=True)
class Compiled:
    """The compiled file, Vela's estimates (KiB, cycles, s, Hz) and the place of each operator."""

    data: bytes
    estimates: dict[str, float]
    places: tuple[Place, ...]

    def as_json(self) -> dict[str, Any]:
        return {
            "schema": "edgekit.vela/1",
            "kind": "predicted",
            "estimates": self.estimates,
            "operators": [asdict(place) for place in self.places],
        }


def run_vela(path: Path, options: Options) -> Compiled:
    """Compile one .tflite file.

    MissingToolError without Vela; GapError with the operator that Vela refuses; TargetError for any other
    failure, with Vela's last words.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        told = _call(path, folder, options)
        (compiled,) = folder.glob("*_vela.tflite")
        (summary,) = folder.glob("*_summary_*.csv")
        (layers,) = folder.glob("*_per-layer.csv")
        places = _places(_rows(layers), told)
        return Compiled(compiled.read_bytes(), _estimates(_rows(summary)[0]), places)


def _call(path: Path, folder: Path, options: Options) -> str:
    command = [
        *(sys.executable, "-m", "ethosu.vela", str(path), "--output-dir", str(folder)),
        *("--accelerator-config", options.accelerator, "--config", _INI),
        *("--system-config", options.system_config, "--memory-mode", options.memory_mode),
        *("--show-cpu-operations", "--verbose-performance"),
    ]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=_SECONDS, cwd=folder
        )
    except subprocess.TimeoutExpired as error:
        raise TargetError(f"Vela took over {_SECONDS} s on {path.name}", fix="try a smaller model") from error
    told = done.stdout + done.stderr
    if done.returncode == 0:
        return told
    if "No module named" in told and "ethosu" in told:
        raise MissingToolError("Vela is not installed", fix='pip install "ethos-u-vela>=5.2"')
    refused = _REFUSED.search(told)
    last = next((line for line in reversed(told.splitlines()) if line.strip()), "it said nothing")
    if refused is None:
        raise TargetError(
            f"Vela does not compile {path.name} for {options.accelerator}: {last[:300]}",
            fix="`vela --list-configs Arm/vela.ini` lists system configurations and memory modes",
        )
    why = " ".join(refused["why"].replace("Failed to parse TFLite file", "").split())
    rule, way_out = f"Vela refuses it: {why[:300]}", "use --target litert, or end the model before it"
    gap = Gap("ethos-u", "", refused["name"], refused["op"], rule, way_out)
    raise GapError(f"{options.accelerator}: {gap}", fix=way_out, gaps=[gap])


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _estimates(row: dict[str, str]) -> dict[str, float]:
    number = {name: float(value) for name, value in row.items() if _is_number(value)}
    outside = ("dram_memory_used", "on_chip_flash_memory_used", "off_chip_flash_memory_used")
    return {
        "sram_kib": number["sram_memory_used"],
        "off_chip_kib": sum(number[name] for name in outside),
        "cycles": number["cycles_total"],
        "inference_s": number["inference_time"],
        "clock_hz": number["core_clock"],
        "npu_macs": number["nn_macs"],
    }


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _places(rows: list[dict[str, str]], told: str) -> tuple[Place, ...]:
    """One row an operator of the compiled graph, with the reason of those that Vela left to the CPU."""
    reasons = {match["name"]: match["why"] for match in _LEFT.finditer(told)}
    return tuple(
        Place(
            operator=row["Original Operator"],
            tensor=row["Name"],
            unit=row["Target"],
            cycles=float(row["Op Cycles"]),
            macs=int(float(row["MAC Count"])),
            reason=reasons.get(row["Name"], "") if row["Target"] == "CPU" else "",
        )
        for row in rows
    )
