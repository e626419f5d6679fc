"""docs/prediction.md and its plots, from the results of the fits; no figure is typed by hand."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from edgekit._latency import SPEC_BAND
from edgekit.profiles.loader import HERE, load_device
from scripts.fit.host_page import describe_cpu, describe_memory, describe_power
from scripts.fit.language_page import describe_case, describe_decode, describe_prefill
from scripts.fit.markdown import COLUMNS, percent, score_words, write_table
from scripts.fit.numbers import rate_numbers
from scripts.fit.plots import plot_errors, plot_points
from scripts.fit.score import baseline, score, score_cells
from scripts.fit.stops_page import describe_stops
from scripts.fit.unseen import other_devices, score_spec, score_unseen, spec_ratios

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scripts.fit.capability import Capability
    from scripts.fit.cpu import Cpu
    from scripts.fit.decode import Decode
    from scripts.fit.decode import Point as Token
    from scripts.fit.family import CellFit, Family, Graph
    from scripts.fit.power import Power
    from scripts.fit.prefill import Prefill
    from scripts.fit.public_case import Case
    from scripts.fit.siblings import Pair
    from scripts.fit.tables import Row

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
    cpus: Sequence[Cpu]
    rows: list[Row]
    tokens: list[Token]
    halves: Sequence[Family]
    power: Power
    yolo: Mapping[tuple[str, str, str], Mapping[Graph, float]]


def write_page(results: Results) -> None:
    """The page and its plots."""
    folder = DOCS / "prediction"
    folder.mkdir(exist_ok=True)
    for precision in ("fp16", "int8"):
        cells = [cell for cell in results.cells if cell.precision == precision]
        plot_points(cells, results.known, folder / f"points-{precision}.png")
        plot_errors(cells, folder / f"errors-{precision}.png")
    parts = [
        _head(results), _numbers(results), describe_stops(results), _family(results), _by_device(results), _new_devices(results), _spec_sheets(results), _siblings(results),
        _jetsons(results), _capabilities(results), describe_decode(results), describe_prefill(results), describe_case(results),
        describe_cpu(results), describe_power(results), describe_memory(), _graphs(results), _limits(),
    ]  # fmt: skip
    (DOCS / "prediction.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")


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
    return "## Numbers\n\n" + write_table(("what", "aim", "reached", ""), rate_numbers(results))


def _family(results: Results) -> str:
    rows = []
    for precision in ("fp16", "int8"):
        for runtime in RUNTIMES:
            cells = [c for c in results.cells if (c.precision, c.runtime) == (precision, runtime)]
            simple = [
                percent(baseline(cells, results.graphs, results.known, kind).error)
                for kind in ("roofline", "macs")
            ]
            rows.append([runtime, precision, *score_words(score_cells(cells)), *simple])
    every = score_cells(results.cells)
    rows.append(["all", "all", *score_words(every), "", ""])
    return (
        "## Qualcomm NPUs: models never seen\n\nSource: github.com/qualcomm/ai-hub-models v0.47.0 perf.yaml "
        "(BSD-3-Clause), runs that stayed on the NPU. The aims were a median error of 15 %, 80 % within 30 %, 75 to "
        "88 % covered at 2.5x. The last columns are the median errors of a roofline and of MACs alone, each scaled by "
        "its own median.\n\n"
        + write_table(("runtime", "precision", *COLUMNS, "roofline", "MACs alone"), rows)
        + "\n\n![Predicted and measured, fp16](prediction/points-fp16.png) "
        "![Predicted and measured, int8](prediction/points-int8.png)"
    )


def _by_device(results: Results) -> str:
    rows = []
    for device in sorted({cell.device for cell in results.cells}):
        for precision in ("fp16", "int8"):
            cells = [c for c in results.cells if (c.device, c.precision) == (device, precision)]
            if cells:
                rows.append([device, precision, *score_words(score_cells(cells))])
    return (
        "### By device\n\n"
        + write_table(("device", "precision", *COLUMNS), rows)
        + "\n\n![Errors by device, fp16](prediction/errors-fp16.png) "
        "![Errors by device, int8](prediction/errors-int8.png)"
    )


def _new_devices(results: Results) -> str:
    names = {cell.device for cell in results.cells}
    devices = {name: load_device(HERE / "devices" / f"{name}.toml") for name in names}
    arch = {name: device.facts["htp_arch"] for name, device in devices.items() if "htp_arch" in device.facts}
    found = score_unseen(other_devices(results.cells, results.known, arch))
    rows = [
        [place[0], arch[place[0]], *place[1:], *score_words(made)] for place, made in sorted(found.items())
    ]
    return (
        "### Devices never seen\n\nEach device predicted by the median of the others of its Hexagon generation, the "
        "model held out as well; the interval is made of the errors of the other devices. Clocks and sizes differ within "
        "a generation, so `edgekit estimate` does not do this: a device without a fit of its own or of its very chip gets "
        "the spec sheet's wide band, below.\n\n"
        + write_table(("device", "Hexagon", "runtime", "precision", *COLUMNS), rows)
    )


def _spec_sheets(results: Results) -> str:
    low, middle, high = SPEC_BAND
    rows, every = [], []
    for (name, runtime, precision), times in sorted({**results.known, **results.yolo}.items()):
        device = load_device(HERE / "devices" / f"{name}.toml")
        ratios = spec_ratios(device, precision, results.graphs, times)
        if ratios:
            every += ratios
            inside, off = score_spec(ratios)
            rows.append(
                [
                    name,
                    runtime,
                    precision,
                    str(len(ratios)),
                    f"{median(ratios):.2f}x",
                    percent(off),
                    percent(inside),
                ]
            )
    inside, off = score_spec(every)
    rows.append(
        ["all", "all", "all", str(len(every)), f"{median(every):.2f}x", percent(off), percent(inside)]
    )
    return (
        f"### The spec sheet alone\n\nWhat a device without a fit gets: {middle:.2g} times the roofline, with {low:.2g} to "
        f"{high:.2g} times as its interval, by a rule that was not fitted. The roofline is the longer of two times: two operations "
        "a MAC at the published peak, and the weights with twice what layers hand on at the published bandwidth. Here on the devices that were measured, as if "
        "nothing but their published peak and bandwidth were known; of NPUs whose peak in a precision nobody published "
        "nothing is predicted.\n\n"
        + write_table(
            (
                "device",
                "runtime",
                "precision",
                "points",
                "measured over roofline",
                "median error",
                "interval covers",
            ),
            rows,
        )
    )


def _siblings(results: Results) -> str:
    rows = [
        [
            pair.source, pair.target, pair.precision, str(len(pair.errors)), percent(score(pair.errors).error),
            percent(score(pair.errors).within_10), percent(score(pair.constant).error),
        ]
        for pair in results.pairs
        if pair.source < pair.target
    ]  # fmt: skip
    return (
        "## A measurement on a sibling\n\nThe measured latency times the ratio of the two devices' fits (of fits that "
        "never saw the model) and one constant a pair. The last column is one constant a pair alone. One direction is "
        "shown; the other is alike. The aim was a median of 6 %.\n\n"
        + write_table(
            ("from", "to", "precision", "points", "median error", "within 10 %", "constant alone"), rows
        )
    )


def _jetsons(results: Results) -> str:
    rows = [
        [cell.device, cell.precision, *score_words(score(list(cell.held.values())))[:4]]
        for cell in results.jetsons
    ]
    whole = score([error for cell in results.jetsons for error in cell.held.values()])
    rows.append(["all", "all", *score_words(whole)[:4]])
    return (
        "## Jetsons\n\nSource: Ultralytics NVIDIA Jetson guide, YOLO11 at 640 pixels under TensorRT. A time a layer "
        "and one a MAC; each of the five sizes is held out in turn, the smallest and the largest too. The aim was "
        "10 %. This is one network in five sizes: other networks on Jetsons are not checked here.\n\n"
        + write_table(("device", "precision", *COLUMNS[:4]), rows)
    )


def _capabilities(results: Results) -> str:
    rows = [
        [
            row.capability, row.precision, f"{row.layer_mb:.2g} MB", percent(row.share),
            *score_words(score(list(row.held.values())))[:4],
        ]
        for row in results.capabilities
    ]  # fmt: skip
    return (
        "### Jetsons never seen\n\nA Jetson without a fit of its own is predicted by its published peak and bandwidth: a "
        "layer takes as long as moving some MB, and MACs run at a share of the peak (fp32 runs on tensor cores, beyond "
        "the published peak). Here the device is held out and the size of the network too.\n\n"
        + write_table(("compute capability", "precision", "a layer", "share of peak", *COLUMNS[:4]), rows)
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

- The spec sheet's band on units that nobody measured.
- What a runtime takes of memory for itself on a phone or a board (`profiles/runtimes.toml`).
- Power but of Jetsons as above, energy, battery and heat rest on single public figures, where there are any.
- Latencies of AI Hub are burst-mode figures of hosted devices, one job each."""
