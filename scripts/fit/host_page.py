"""The parts of docs/prediction.md on CPUs: what nodes cost there, and what runtimes took of memory."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from edgekit.profiles.loader import HERE, load_device
from scripts.fit.cpu import over_whole
from scripts.fit.markdown import COLUMNS, percent, score_words, write_table
from scripts.fit.power import BOARD
from scripts.fit.score import score
from scripts.fit.tables import mixed_latencies

if TYPE_CHECKING:
    from scripts.fit.page import Results


MEMORY = Path(__file__).parent / "memory.csv"


def describe_cpu(results: Results) -> str:
    """What a node on the CPU is taken for, and how far that is off."""
    rows = [
        [
            row.precision, f"{row.gmac_ms:.3g} ms", f"{row.moved_ms:.3g} ms", f"{1e3 * row.op_ms:.3g} us",
            *score_words(score(row.errors))[:4],
        ]
        for row in results.cpus
    ]  # fmt: skip
    mixed = [
        [*place[:3], str(place[3]), str(place[4]), str(len(ratios)), f"{median(ratios):.3g}x"]
        for place, ratios in over_whole(results.cells, results.graphs, mixed_latencies(results.rows)).items()
    ]
    devices = ", ".join(sorted({name for row in results.cpus for name in row.devices}))
    return (
        "## Nodes on the CPU\n\nWhat `--on-cpu` takes a node for: a time a G MAC, one a million numbers moved or "
        f"converted, one an operator, by the table's runs under ONNX Runtime that went to the CPU as a whole, on {devices} "
        "together; each model is held out on all of them. fp32 are w8a16 models, which these kernels compute in float "
        "between conversions. What a boundary costs was checked against no run: the table counts the operators that a "
        "model left on the CPU or the GPU, and does not name them. The second table is of those runs: how many times as long "
        "they took as the fit of the device says of the whole model on its NPU. It says why a fallback must be known: it may "
        "cost nothing, or most of the time, and a runtime without a fast kernel for what it keeps is slower still than this fit of "
        "whole models.\n\n"
        + write_table(("precision", "a G MAC", "a M numbers", "an operator", *COLUMNS[:4]), rows)
        + "\n\n"
        + write_table(
            (
                "model",
                "runtime",
                "precision",
                "operators on the NPU",
                "elsewhere",
                "runs",
                "measured over the whole on the NPU",
            ),
            mixed,
        )
    )


def describe_power(results: Results) -> str:
    """The power of a board beside its public figures; each is held out."""
    power = results.power
    rows = [
        [
            run.precision,
            f"{run.watts:.2f} W",
            f"{said:.2f} W",
            f"{100 * (said / run.watts - 1):+.1f} %",
            percent(run.used),
        ]
        for run, said in zip(power.runs, power.said, strict=True)
    ]
    device = load_device(HERE / "devices" / f"{BOARD}.toml")
    idle, load = (device.figures[name].value for name in ("power_idle", "power_load"))
    plain = score([math.log(load / run.watts) for run in power.runs])
    return (
        f"## Power\n\nOf {device.title} under TensorRT: idle {idle:.4g} W; of the {load - idle:.4g} W that a load adds "
        f"{percent(power.base)} whenever it computes, and the rest as it uses memory, all at {percent(power.full)} of the "
        "bandwidth, which a decode step reaches. Public powers of one network in three precisions; each predicted from the "
        "others, with the latency of this page's fit. The interval of `estimate` is a rule, for three runs make none. The "
        f"load's power alone would be off by a median of {percent(plain.error)}. Other networks and boards are not "
        "checked: what else the tables have are energies a token of language models, whose precision they do not tell.\n\n"
        + write_table(("precision", "measured", "predicted", "off by", "memory traffic used"), rows)
    )


def describe_memory() -> str:
    """The plan by last use beside what runtimes took on a host."""
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
        + write_table(("runtime", "model", "planned", "first run took", "of the plan", "runtime's own"), rows)
    )
