"""One prepared Q/DQ component -> the int8 .tflite, what Vela makes of it, and where each operator runs."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from dataclasses import replace
from importlib.metadata import version
from typing import TYPE_CHECKING

from edgekit._results import Measurement
from edgekit._values import Placement
from edgekit.target import refuse_fallbacks
from edgekit.targets.litert.build_component import build_component as build_tflite
from edgekit.targets.litert.ethos_u.fallbacks import end_in_float, is_kept, list_left
from edgekit.targets.litert.ethos_u.run_vela import run_vela
from edgekit.targets.litert.ethos_u.write_out_hardswish import write_out_hardswish

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from edgekit._values import Artifact, Component
    from edgekit.target import Job
    from edgekit.targets.litert.ethos_u.options import Options
    from edgekit.targets.litert.ethos_u.run_vela import Compiled

PROVES = (
    "this host ran the .tflite file that Vela compiled, on LiteRT's CPU kernels: its int8 operators give "
    "these numbers. The compiled command stream ran nowhere; no Ethos-U was used, and SRAM, flash and cycles "
    "are Vela's own estimates"
)
_BY_CHOICE = "kept on the CPU by edgekit: the last Softmax or Sigmoid, in float32"
_COMPILED = ".vela.tflite"
_TABLE = ".vela.json"
# Vela ends a reason with the tensor that it is about: "... unsupported DataType Float32 (t67_act)".
_OF_TENSOR = re.compile(r" \([^()]*\)$")


def build_component(component: Component, job: Job, out: Path, *, options: Options) -> Artifact:
    """Write `<component>.int8.tflite`, `.vela.tflite` and `.vela.json` into `out`.

    The .json holds Vela's estimates and the place of every operator. GapError where Vela refuses the file, or
    leaves an operator to the CPU that the options refuse to.
    """
    plain = build_tflite(component, replace(job, options={}), out, adapt=write_out_hardswish)
    compiled = run_vela(out / plain.main, options)
    kept = end_in_float(component)
    if options.fallback == "refuse":
        refuse_fallbacks(list(list_left(compiled.places, component.name, kept)))
    stem = plain.main.removesuffix(".tflite")
    (out / f"{stem}{_COMPILED}").write_bytes(compiled.data)
    (out / f"{stem}{_TABLE}").write_text(json.dumps(compiled.as_json(), indent=1) + "\n", encoding="utf-8")
    return replace(
        plain,
        main=f"{stem}{_COMPILED}",
        files=(f"{stem}{_COMPILED}", plain.main, f"{stem}{_TABLE}"),
        runtime=f"ethos-u-vela {version('ethos-u-vela')}, {plain.runtime}",
        notes=(*plain.notes, *_words(compiled, options)),
        proves=PROVES,
        placements=tuple(_placements(compiled, options, kept)),
    )


def _placements(compiled: Compiled, options: Options, chosen: frozenset[str]) -> Iterator[Placement]:
    """How many operators are on the NPU, and on the CPU by Vela's reason."""
    on_npu = sum(place.unit == "NPU" for place in compiled.places)
    why = f"placed by Vela {version('ethos-u-vela')} on this host; no Ethos-U has run it"
    yield Placement(f"NPU ({options.accelerator})", on_npu, why)
    left: dict[tuple[str, bool], list[str]] = {}
    for place in compiled.places:
        if place.unit != "NPU":
            by_choice = is_kept(place, chosen)
            reason = _OF_TENSOR.sub("", place.reason) or "Vela gives no reason"
            left.setdefault((_BY_CHOICE if by_choice else reason, not by_choice), []).append(place.operator)
    for (reason, is_fallback), operators in left.items():
        names = ", ".join(f"{count} {name}" for name, count in Counter(operators).items())
        yield Placement("CPU", len(operators), f"{names}: {reason}", fallback=is_fallback)


def source_file(artifact: Artifact) -> str:
    """The .tflite that was compiled into the artifact's main file."""
    return artifact.main.removesuffix(_COMPILED) + ".tflite"


def read_estimates(artifact: Artifact, folder: Path) -> list[Measurement]:
    """Vela's own latency (ms) and SRAM (B), out of the bundle. No error band of its model is public."""
    path = folder / f"{artifact.main.removesuffix('.tflite')}.json"
    table = json.loads(path.read_text(encoding="utf-8"))
    found, places = table["estimates"], table["operators"]
    left = sum(place["unit"] != "NPU" for place in places)
    cpu = f"; {left} of {len(places)} operators are left to the CPU and not in it" if left else ""
    basis = f"Vela's performance model at {found['clock_hz'] / 1e6:.0f} MHz, error unknown{cpu}"
    return [
        Measurement("latency", 1e3 * found["inference_s"], "ms", "predicted", basis, (0.0, math.inf)),
        Measurement("memory", 1024 * found["sram_kib"], "B", "predicted", "SRAM, as Vela lays it out"),
    ]


def _words(compiled: Compiled, options: Options) -> list[str]:
    on_cpu = [place for place in compiled.places if place.unit == "CPU"]
    names = ", ".join(sorted({place.operator for place in on_cpu}))
    where = f"{len(compiled.places) - len(on_cpu)} of {len(compiled.places)} operators on the NPU"
    left = f"; left to the CPU: {names}" if on_cpu else ""
    return [f"Vela for {options.accelerator}, {options.system_config}, {options.memory_mode}: {where}{left}"]
