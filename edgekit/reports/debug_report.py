"""What a user reads after a debug: the worst layers of each target, and what to do about them."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from edgekit.reports.terminal import clean, shorten, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgekit._layer_errors import DebugResult, LayerError
    from edgekit._results import OutputParity

HEADERS = ("layer", "op", "price", "alone", "cosine", "accumulated", "in the artifact", "blame")
_MOST_NODES = 6  # more of them are no line to type
_LONGEST_NAME = 48


def render_debug(results: Sequence[DebugResult], most: int, output: str | None) -> str:
    """One block a target; figures are SQNR in dB."""
    blocks = [_render(result, most) for result in results]
    if output:
        blocks.append(
            f"written: {clean(output)}/debug.json, debug.html where matplotlib is installed, and each worst "
            "layer as layer.onnx with inputs.npz"
        )
    return "\n\n".join(blocks)


def _render(result: DebugResult, most: int) -> str:
    place = result.device if result.component == "model" else f"{result.device}, {result.component}"
    lines = [
        clean(f"{place}: INT8 under the {result.scheme} scheme, {result.samples} samples; SQNR in dB"),
        "  price: how far the layer's own error carries the outputs (docs/debug.md)",
    ]
    lines += [
        clean(f"  output '{output.output}': {_db(output)} dB from fp32 in the Q/DQ graph")
        for output in result.outputs
    ]
    worst = result.worst(most)
    lines.append(table(HEADERS, [make_row(layer) for layer in worst], right=(2, 3, 4, 5, 6)))
    if result.note:
        lines.append(clean(f"  artifact: {result.note}"))
    lowered = [layer for layer in result.layers if layer.blame == "lowering"]
    if lowered:
        first = lowered[0]
        lines.append(clean(f"  the file first leaves its Q/DQ graph at {first.op} '{first.node}': report it"))
    if worst and worst[0].blame == "quantization":
        nodes = worst[0].group if 0 < len(worst[0].group) <= _MOST_NODES else (worst[0].node,)
        options = " ".join(f"--float {shlex.quote(clean(node))}" for node in nodes)
        lines.append(f"  way out: keep the worst layer in float: {options}")
        lines.append("  or let it be searched: edgekit convert --precision auto")
    return "\n".join(lines)


def make_row(layer: LayerError) -> tuple[str, ...]:
    """One layer's cells, under HEADERS."""
    return (
        shorten(layer.node, _LONGEST_NAME),
        layer.op,
        f"{layer.price:.2g}",
        _db(layer.own),
        f"{layer.own.cosine:.4f}",
        _db(layer.accumulated),
        "-" if layer.artifact is None else _db(layer.artifact),
        layer.blame or "-",
    )


def _db(parity: OutputParity) -> str:
    return "equal" if parity.sqnr_db == float("inf") else f"{parity.sqnr_db:.1f}"
