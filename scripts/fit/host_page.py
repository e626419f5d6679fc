"""The parts of docs/prediction.md on CPUs: what nodes cost there, and what runtimes took of memory."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.fit.markdown import COLUMNS, score_words, write_table
from scripts.fit.score import score

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
    devices = ", ".join(sorted({name for row in results.cpus for name in row.devices}))
    return (
        "## Nodes on the CPU\n\nWhat `--on-cpu` takes a node for: a time a G MAC, one a million numbers moved or "
        f"converted, one an operator, by the table's runs under ONNX Runtime that went to the CPU as a whole, on {devices} "
        "together; each model is held out on all of them. fp32 are w8a16 models, which these kernels compute in float "
        "between conversions. What a boundary costs was checked against no run: the table counts the operators that a "
        "model left on the CPU, and does not name them.\n\n"
        + write_table(("precision", "a G MAC", "a M numbers", "an operator", *COLUMNS[:4]), rows)
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
