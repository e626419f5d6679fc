"""python -m scripts.fit TABLES: writes profiles/fits/*.toml and docs/prediction.md from the tables there."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.profiles.loader import HERE
from edgekit.profiles.read_fits import (
    capability_fits,
    cpu_fits,
    decode_fits,
    family_fits,
    likeness_fits,
    power_fits,
    prefill_fits,
    sibling_fits,
)
from scripts.fit.capability import fit_capabilities
from scripts.fit.cpu import fit_cpus
from scripts.fit.decode import fit_decode, read_points
from scripts.fit.family import REACH, CellFit, Family, Resemblance, Wider, band, fit_precision
from scripts.fit.graphs import read_graphs
from scripts.fit.jetson import fit_jetsons
from scripts.fit.page import Results, write_page
from scripts.fit.power import RULE, fit_power
from scripts.fit.prefill import fit_prefill, read_prompts
from scripts.fit.public_case import compare_case
from scripts.fit.score import score, score_cells
from scripts.fit.siblings import fit_pairs
from scripts.fit.tables import cpu_latencies, npu_latencies, read_rows, yolo_latencies

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scripts.fit.capability import Capability
    from scripts.fit.cpu import Cpu
    from scripts.fit.decode import Decode
    from scripts.fit.power import Power
    from scripts.fit.prefill import Prefill
    from scripts.fit.regress import Array
    from scripts.fit.siblings import Pair

Graphs = Mapping[tuple[str, str], Mapping[str, float]]
Latencies = Mapping[tuple[str, str, str], Mapping[tuple[str, str], float]]

AIHUB = (
    "github.com/qualcomm/ai-hub-models v0.47.0 perf.yaml (BSD-3-Clause), all layers on the NPU, burst mode"
)
JETSON = "Ultralytics NVIDIA Jetson guide, YOLO11 at 640 pixels under TensorRT"
CPU = (
    "github.com/qualcomm/ai-hub-models v0.47.0 perf.yaml (BSD-3-Clause), ONNX Runtime, all layers on the CPU"
)
POWER = "github hokwangchoi/jetson-orin-nano-benchmarks (MIT), YOLOv8n at 640 pixels, JetPack 6.2.2"
DECODE = f"{AIHUB}; NVIDIA's and community tables of decode speeds, one request at a time"
LEAST_MS = 1e-7  # a coefficient that adds less than this to the typical model is left out


def main(folder: Path) -> None:
    """Fit, score and write everything."""
    day = datetime.now(UTC).date().isoformat()
    hub, measured = read_rows(folder / "aihub_perf.csv"), read_rows(folder / "measured.csv")
    graphs, known, yolo = read_graphs(), npu_latencies(hub), yolo_latencies(measured)
    fitted = _fit_families(graphs, known)
    cells = [cell for family in fitted.values() for cell in family.cells]
    tokens = read_points(hub, measured)
    jetsons, decode = fit_jetsons(graphs, yolo), fit_decode(tokens)
    results = Results(
        day, graphs, known, cells, jetsons, fit_pairs(cells, known),
        decode, {row["model"] for row in hub},
        fit_capabilities(graphs, yolo), fit_prefill(read_prompts(hub, measured)), [],
        fit_cpus(graphs, cpu_latencies(hub)), hub, tokens, _fit_halves(graphs, known),
        fit_power(measured, graphs, jetsons, decode), yolo,
    )  # fmt: skip
    alike = {name: family.likeness for name, family in fitted.items() if family.likeness is not None}
    _write("qualcomm", AIHUB, day, [_family_row(cell, cell.precision in alike) for cell in cells])
    _write_likeness(alike)
    _write("jetson", JETSON, day, [_family_row(cell, False) for cell in results.jetsons])
    _write("capability", JETSON, day, [_capability_row(row) for row in results.capabilities])
    _write("prefill", DECODE, day, [_prefill_row(row) for row in results.prefill])
    _write("siblings", AIHUB, day, [_pair_row(pair) for pair in results.pairs])
    _write("decode", DECODE, day, [_decode_row(row) for row in results.decode])
    _write("cpu", CPU, day, [_cpu_row(row) for row in results.cpus])
    _write("power", POWER, day, [_power_row(results.power)])
    _forget()
    write_page(replace(results, case=compare_case(measured)))


def _fit_families(graphs: Graphs, known: Latencies) -> dict[str, Family]:
    """Both precisions; int8 has half the models: its shape leans on fp16's."""
    floats = {key[:2]: times for key, times in known.items() if key[2] == "fp16"}
    fitted: dict[str, Family] = {}
    for precision in ("fp16", "int8"):
        rows = {key[:2]: times for key, times in known.items() if key[2] == precision}
        wider = Wider(fitted["fp16"].shape, floats) if fitted else None
        fitted[precision] = fit_precision(graphs, rows, precision, wider)
    return fitted


def _fit_halves(graphs: Graphs, known: Latencies) -> list[Family]:
    """The same fits of every second model alone: what half of the networks would have told."""
    models = sorted({model for model, _ in graphs})
    halves = [{graph: terms for graph, terms in graphs.items() if graph[0] in models[at::2]} for at in (0, 1)]
    return [family for half in halves for family in _fit_families(half, known).values()]


def _forget() -> None:
    """Let what was just written be read: the loaders keep what they read."""
    for kept in (
        family_fits, likeness_fits, sibling_fits, capability_fits, cpu_fits, power_fits, decode_fits,
        prefill_fits,
    ):  # fmt: skip
        kept.cache_clear()


def _quality(errors: Sequence[float]) -> dict[str, object]:
    low, high = band(errors)
    return {
        "low": low,
        "high": high,
        "points": len(errors),
        "error": score(errors).error,
        "width": high / low,
    }


def _family_row(cell: CellFit, likeness: object) -> dict[str, object]:
    errors = list(cell.held.values())
    return {
        "device": cell.device, "runtime": cell.runtime, "precision": cell.precision, **_quality(errors),
        "coverage": score_cells([cell]).coverage, "least_gmacs": cell.gmacs[0], "most_gmacs": cell.gmacs[1],
        "likeness": bool(likeness),
        "ms": {term: value for term, value in cell.coefficients.items() if value > LEAST_MS},
    }  # fmt: skip


def _pair_row(pair: Pair) -> dict[str, object]:
    return {
        "from": pair.source, "to": pair.target, "precision": pair.precision, "scale": pair.scale,
        **_quality(pair.errors), "coverage": _covered(pair.errors),
    }  # fmt: skip


def _decode_row(row: Decode) -> dict[str, object]:
    return {
        "family": row.family, "device": row.device, "precision": row.precision, "layer_ms": row.layer_ms,
        "share": row.share, **_quality(row.errors), "coverage": _covered(row.errors),
    }  # fmt: skip


def _prefill_row(row: Prefill) -> dict[str, object]:
    return {
        "family": row.family, "device": row.device, "precision": row.precision, "layer_ms": row.layer_ms,
        "gmac_ms": row.gmac_ms, **_quality(row.errors), "coverage": _covered(row.errors),
    }  # fmt: skip


def _capability_row(row: Capability) -> dict[str, object]:
    errors = list(row.held.values())
    return {
        "capability": row.capability, "precision": row.precision, "layer_mb": row.layer_mb,
        "share": row.share, "least_gmacs": row.gmacs[0], "most_gmacs": row.gmacs[1],
        **_quality(errors), "coverage": _covered(errors),
    }  # fmt: skip


def _cpu_row(row: Cpu) -> dict[str, object]:
    return {
        "precision": row.precision, "gmac_ms": row.gmac_ms, "moved_ms": row.moved_ms, "op_ms": row.op_ms,
        **_quality(row.errors), "coverage": _covered(row.errors),
    }  # fmt: skip


def _power_row(row: Power) -> dict[str, object]:
    low, high = RULE
    return {
        "runtime": row.runtime, "base": row.base, "full": row.full,
        **_quality(row.errors), "low": low, "high": high, "width": high / low, "coverage": row.covered,
    }  # fmt: skip


def _covered(errors: Sequence[float]) -> float:
    """The share of errors within the band made of the others."""
    inside = 0
    for at, error in enumerate(errors):
        low, high = band([*errors[:at], *errors[at + 1 :]])
        inside += low <= math.exp(-error) <= high
    return inside / len(errors)


def _write(name: str, source: str, day: str, rows: Sequence[Mapping[str, object]]) -> None:
    head = f'# Written by scripts/fit; do not edit.\nfitted = "{day}"\nsource = "{source}"\n'
    body = "\n\n".join(f"[[fit]]\n{_toml(row)}" for row in rows)
    (HERE / "fits" / f"{name}.toml").write_text(f"{head}\n{body}\n", encoding="utf-8")


def _write_likeness(fits: Mapping[str, Resemblance]) -> None:
    lines = ["# Written by scripts/fit; do not edit. Read by edgekit/_likeness.py."]
    for precision, fit in fits.items():
        lines += ["", f"[{precision}]", f"reach = {REACH}"]
        for name in ("means", "spreads", "places", "weights"):
            rows = getattr(fit, name)
            texts = [_numbers(row) if rows.ndim > 1 else f"{row:.4g}" for row in rows]
            lines += [f"{name} = [{', '.join(texts)}]"]
    (HERE / "fits" / "likeness.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _numbers(row: Array) -> str:
    return f"[{', '.join(f'{value:.4g}' for value in row)}]"


def _toml(row: Mapping[str, object]) -> str:
    return "\n".join(f"{name} = {_word(value)}" for name, value in row.items())


def _word(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{name} = {_word(item)}" for name, item in value.items()) + " }"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.4g}" if isinstance(value, float) else repr(value).replace("'", '"')


if __name__ == "__main__":
    main(Path(sys.argv[1]))
