"""docs/prediction.md and its plots, from the results of the fits; no figure is typed by hand."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.profiles.loader import HERE, load_device
from scripts.fit.numbers import rate_numbers
from scripts.fit.plots import plot_errors, plot_points
from scripts.fit.score import Score, baseline, other_devices, score, score_cells

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from scripts.fit.capability import Capability
    from scripts.fit.decode import Decode
    from scripts.fit.family import CellFit, Graph
    from scripts.fit.prefill import Prefill
    from scripts.fit.public_case import Case
    from scripts.fit.siblings import Pair

MEMORY = Path(__file__).parent / "memory.csv"
DOCS = Path(__file__).parents[2] / "docs"
RUNTIMES = ("litert", "qnn", "onnxruntime")


@dataclass(frozen=True)
class Results:
    """Everything that was fitted, and from what."""

    day: str
    graphs: Mapping[Graph, Mapping[str, float]]
    known: Mapping[tuple[str, str, str], Mapping[Graph, float]]
    cells: Sequence[CellFit]
    jetsons: Sequence[CellFit]
    pairs: Sequence[Pair]
    decode: Sequence[Decode]
    models: set[str]
    capabilities: Sequence[Capability]
    prefill: Sequence[Prefill]
    case: Sequence[Case]


def write_page(results: Results) -> None:
    """The page and its plots."""
    folder = DOCS / "prediction"
    folder.mkdir(exist_ok=True)
    for precision in ("fp16", "int8"):
        cells = [cell for cell in results.cells if cell.precision == precision]
        plot_points(cells, results.known, folder / f"points-{precision}.png")
        plot_errors(cells, folder / f"errors-{precision}.png")
    parts = [
        _head(results), _numbers(results), _family(results), _by_device(results), _new_devices(results), _siblings(results),
        _jetsons(results), _capabilities(results), _decode(results), _prefill(results), _case(results),
        _memory(), _graphs(results), _limits(),
    ]  # fmt: skip
    (DOCS / "prediction.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f} %"


def _cells_of(made: Score) -> list[str]:
    width = "" if made.width is None else f"{made.width:.2f}x"
    return [
        str(made.points), _percent(made.error), _percent(made.within_10), _percent(made.within_30),
        _percent(made.coverage), width,
    ]  # fmt: skip


_COLUMNS = ("points", "median error", "within 10 %", "within 30 %", "interval covers", "interval width")


def _head(results: Results) -> str:
    return f"""# How far predictions can be trusted

Written by `python -m scripts.fit TABLES` on {results.day}; no figure here is typed by hand. Every error is of models
that the fit never saw: a model is held out with all its precisions, runtimes, devices and parts, everything is fitted
anew, and its latencies are predicted. An interval is made of the errors of the other models and tried on the one held
out; it is meant to hold 80 %. Its width is its upper over its lower end.

A fit is a sum of terms that can't be negative (a launch, layers, MACs by kind, weights, numbers moved by kind, what goes in
and out, pixels; `edgekit/_work_terms.py`), fitted to the logarithm of the latency. All devices and runtimes share one shape;
each bends it as far as its own points ask for; int8 starts from fp16's shape. int8 runs that are slower than the float run of
the same graph bend no fit (something in them is done in float, or again), and are judged as all others are. Where it helped on models held out, what models that resemble each
other are off by is taken in too (`edgekit/_likeness.py`)."""


def _numbers(results: Results) -> str:
    return "## Numbers\n\n" + _table(("what", "aim", "reached", ""), rate_numbers(results))


def _family(results: Results) -> str:
    rows = []
    for precision in ("fp16", "int8"):
        for runtime in RUNTIMES:
            cells = [c for c in results.cells if (c.precision, c.runtime) == (precision, runtime)]
            simple = [
                _percent(baseline(cells, results.graphs, results.known, kind).error)
                for kind in ("roofline", "macs")
            ]
            rows.append([runtime, precision, *_cells_of(score_cells(cells)), *simple])
    every = score_cells(results.cells)
    rows.append(["all", "all", *_cells_of(every), "", ""])
    return (
        "## Qualcomm NPUs: models never seen\n\nSource: github.com/qualcomm/ai-hub-models v0.47.0 perf.yaml "
        "(BSD-3-Clause), runs that stayed on the NPU. The aims were a median error of 15 %, 80 % within 30 %, 75 to "
        "88 % covered at 2.5x. The last columns are the median errors of a roofline and of MACs alone, each scaled by "
        "its own median.\n\n"
        + _table(("runtime", "precision", *_COLUMNS, "roofline", "MACs alone"), rows)
        + "\n\n![Predicted and measured, fp16](prediction/points-fp16.png) "
        "![Predicted and measured, int8](prediction/points-int8.png)"
    )


def _by_device(results: Results) -> str:
    rows = []
    for device in sorted({cell.device for cell in results.cells}):
        for precision in ("fp16", "int8"):
            cells = [c for c in results.cells if (c.device, c.precision) == (device, precision)]
            if cells:
                rows.append([device, precision, *_cells_of(score_cells(cells))])
    return (
        "### By device\n\n"
        + _table(("device", "precision", *_COLUMNS), rows)
        + "\n\n![Errors by device, fp16](prediction/errors-fp16.png) "
        "![Errors by device, int8](prediction/errors-int8.png)"
    )


def _new_devices(results: Results) -> str:
    names = {cell.device for cell in results.cells}
    devices = {name: load_device(HERE / "devices" / f"{name}.toml") for name in names}
    arch = {name: device.facts["htp_arch"] for name, device in devices.items() if "htp_arch" in device.facts}
    found = other_devices(results.cells, results.known, arch)
    rows = [[name, arch[name], *_cells_of(score(errors))[:4]] for name, errors in sorted(found.items())]
    return (
        "### Devices never seen\n\nEach device predicted by the median of the others of its Hexagon generation, the "
        "model held out as well. Clocks and sizes differ within a generation, so `edgekit estimate` does not do this: "
        "a device without a fit of its own or of its very chip gets the spec sheet's wide band.\n\n"
        + _table(("device", "Hexagon", *_COLUMNS[:4]), rows)
    )


def _siblings(results: Results) -> str:
    rows = [
        [
            pair.source, pair.target, pair.precision, str(len(pair.errors)), _percent(score(pair.errors).error),
            _percent(score(pair.errors).within_10), _percent(score(pair.constant).error),
        ]
        for pair in results.pairs
        if pair.source < pair.target
    ]  # fmt: skip
    return (
        "## A measurement on a sibling\n\nThe measured latency times the ratio of the two devices' fits (of fits that "
        "never saw the model) and one constant a pair. The last column is one constant a pair alone. One direction is "
        "shown; the other is alike. The aim was a median of 6 %.\n\n"
        + _table(("from", "to", "precision", "points", "median error", "within 10 %", "constant alone"), rows)
    )


def _jetsons(results: Results) -> str:
    rows = [
        [cell.device, cell.precision, *_cells_of(score(list(cell.held.values())))[:4]]
        for cell in results.jetsons
    ]
    whole = score([error for cell in results.jetsons for error in cell.held.values()])
    rows.append(["all", "all", *_cells_of(whole)[:4]])
    return (
        "## Jetsons\n\nSource: Ultralytics NVIDIA Jetson guide, YOLO11 at 640 pixels under TensorRT. A time a layer "
        "and one a MAC; each of the five sizes is held out in turn, the smallest and the largest too. The aim was "
        "10 %. This is one network in five sizes: other networks on Jetsons are not checked here.\n\n"
        + _table(("device", "precision", *_COLUMNS[:4]), rows)
    )


def _decode(results: Results) -> str:
    rows = [
        [
            row.family, row.device or "any", row.precision, f"{1e3 * row.layer_ms:.2g} us", _percent(row.share),
            *_cells_of(score(row.errors))[:2],
        ]
        for row in results.decode
    ]  # fmt: skip
    return (
        "## Decoding a token\n\nA time a layer, and weights read at a share of the memory bandwidth; each model is "
        "held out in turn. Sources: AI Hub's Genie runs (w4, w4a16), NVIDIA's and community tables of compiled "
        "engines (TensorRT Edge-LLM, MLC, Core ML). The aim was 25 %.\n\n"
        + _table(
            ("family", "device", "precision", "a layer", "share of bandwidth", "points", "median error"), rows
        )
    )


def _capabilities(results: Results) -> str:
    rows = [
        [
            row.capability, row.precision, f"{row.layer_mb:.2g} MB", _percent(row.share),
            *_cells_of(score(list(row.held.values())))[:4],
        ]
        for row in results.capabilities
    ]  # fmt: skip
    return (
        "### Jetsons never seen\n\nA Jetson without a fit of its own is predicted by its published peak and bandwidth: a "
        "layer takes as long as moving some MB, and MACs run at a share of the peak (fp32 runs on tensor cores, beyond "
        "the published peak). Here the device is held out and the size of the network too.\n\n"
        + _table(("compute capability", "precision", "a layer", "share of peak", *_COLUMNS[:4]), rows)
    )


def _prefill(results: Results) -> str:
    rows = [
        [
            row.family, row.device, row.precision, f"{1e3 * row.layer_ms:.2g} us", f"{row.gmac_ms:.2g} ms",
            *_cells_of(score(row.errors))[:4],
        ]
        for row in results.prefill
    ]  # fmt: skip
    return (
        "## Prompts\n\nA time a layer and one a G MAC, one shape a family and one factor a device; each model is held out "
        "on all devices, and errors are those of the family. Sources: AI Hub's least times to first token (128 tokens "
        "beside a cache of 4,096) and TensorRT Edge-LLM's tables. Prompts on other devices, and in other precisions, are "
        "predicted as any model is.\n\n"
        + _table(("family", "device", "precision", "a layer", "a G MAC", *_COLUMNS[:4]), rows)
    )


def _case(results: Results) -> str:
    rows = []
    for case in results.case:
        value, ends = case.predicted.value, case.predicted.interval
        if value is None or ends is None:
            continue
        factor = 1e-6 if case.predicted.unit == "B" else 1.0
        told = f"{factor * ends[0]:.4g} to {factor * ends[1]:.4g}"
        words = case.name.replace("_", " "), f"{case.measured:.4g} {case.unit}"
        rows.append(
            [*words, f"{factor * value:.4g}", told, f"{100 * (factor * value / case.measured - 1):+.1f} %"]
        )
    return (
        "## A whole vision-language model\n\nCosmos-Reason2-2B (a Qwen3-VL-2B) under TensorRT Edge-LLM on Jetson Orin Nano "
        "Super, one picture of 494 tokens, measured by others (github hokwangchoi/jetson-orin-nano-benchmarks). None of "
        "its rows is in any fit. The graphs are drawn from the published configuration (`scripts/fit/drawn_vlm.py`) and "
        "predicted by `edgekit estimate FOLDER --precision w4,vision=fp16,embedding=fp16`. The aim was 25 %. The "
        "measured memory is the board's whole use, 519 MB of it before the run began (their tegrastats log); the "
        "predicted one is the process's.\n\n"
        + _table(("figure", "measured", "predicted", "interval", "off by"), rows)
    )


def _memory() -> str:
    with MEMORY.open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    rows = [
        [
            row["runtime"], row["model"], *(f"{float(row[name]) / 1e6:.2f} MB" for name in ("planned", "run")),
            f"{float(row['run']) / float(row['planned']):.2f}", f"{float(row['own']) / 1e6:.1f} MB",
        ]
        for row in table
    ]  # fmt: skip
    return (
        "## Memory\n\nLive activations by a plan that frees each tensor after its last reader, beside the anonymous memory "
        "that a first run took on a Linux host (`python -m scripts.fit.runtime_memory`; LiteRT under XNNPACK, fp32). "
        "`estimate` takes nothing to twice the plan as its interval. The last column is the runtime's own, with a model "
        "of one addition. None of this was measured on a phone or a board.\n\n"
        + _table(("runtime", "model", "planned", "first run took", "of the plan", "runtime's own"), rows)
    )


def _graphs(results: Results) -> str:
    built = {model for model, _ in results.graphs}
    missing = sorted(results.models - built)
    return (
        f"## Graphs\n\n{len(results.graphs)} graphs were built from packages with random weights and counted by "
        "edgekit itself (`scripts/fit/architectures`, `scripts/fit/graphs.csv`), with the sizes, the normalization and "
        "the ending that the table's release has in its sources (AI Hub models v0.47.0). Of the table's "
        f"{len(results.models)} models {len(missing)} have none, because no package here draws them, because they are "
        f"too large to export here, or because they run on no NPU alone: {', '.join(missing)}."
    )


def _limits() -> str:
    return """## Not validated

- The spec-sheet band of every device without a fit (1 to 7.5 times the roofline) is a rule.
- What a runtime takes of memory for itself on a phone or a board (`profiles/runtimes.toml`).
- Power, energy, battery and heat rest on single public figures, where there are any; nothing is fitted.
- Latencies of AI Hub are burst-mode figures of hosted devices, one job each."""
