"""What a user reads after a debug: the worst layers of each target, and what to do about them."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from edgekit.reports.terminal import clean, shorten, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgekit._layer_errors import DebugResult, LayerError
    from edgekit._values import OutputParity

_HEADERS = ("layer", "op", "alone", "cosine", "accumulated", "in the artifact", "blame")
_LONGEST_NAME = 48


def render_debug(results: Sequence[DebugResult], most: int, output: str | None) -> str:
    """One block a target; figures are SQNR in dB."""
    blocks = [_render(result, most) for result in results]
    if output:
        blocks.append(
            f"written: {clean(output)}/debug.json, and each worst layer as layer.onnx with inputs.npz"
        )
    return "\n\n".join(blocks)


def _render(result: DebugResult, most: int) -> str:
    place = result.device if result.component == "model" else f"{result.device}, {result.component}"
    lines = [clean(f"{place}: INT8 under the {result.scheme} scheme, {result.samples} samples, SQNR in dB")]
    lines += [
        clean(f"  output '{output.output}': {_db(output)} dB from fp32 in the Q/DQ graph")
        for output in result.outputs
    ]
    worst = result.worst(most)
    lines.append(table(_HEADERS, [_row(layer) for layer in worst], right=(2, 3, 4, 5)))
    if result.note:
        lines.append(clean(f"  artifact: {result.note}"))
    lowered = [layer for layer in result.layers if layer.blame == "lowering"]
    if lowered:
        first = lowered[0]
        lines.append(clean(f"  the file first leaves its Q/DQ graph at {first.op} '{first.node}': report it"))
    if worst and worst[0].blame == "quantization":
        lines.append(f"  way out: keep the worst layer in float: --float {shlex.quote(clean(worst[0].node))}")
    return "\n".join(lines)


def _row(layer: LayerError) -> tuple[str, ...]:
    return (
        shorten(layer.node, _LONGEST_NAME),
        layer.op,
        _db(layer.own),
        f"{layer.own.cosine:.4f}",
        _db(layer.accumulated),
        "-" if layer.artifact is None else _db(layer.artifact),
        layer.blame or "-",
    )


def _db(parity: OutputParity) -> str:
    return "equal" if parity.sqnr_db == float("inf") else f"{parity.sqnr_db:.1f}"
