"""debug.html: every layer's error in a plot, and the worst ones in a table, in one offline page a debug."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING

from edgekit.reports.debug_report import HEADERS, make_row
from edgekit.reports.plots import COLOURS, draw

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from edgekit._layer_errors import DebugResult, LayerError

_STYLE = (
    ":root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;"
    "padding:0 1rem}table{border-collapse:collapse}td,th{padding:.2rem .6rem;text-align:left;"
    "border-bottom:1px solid #8888}svg{max-width:100%;height:auto}.scroll{overflow-x:auto}"
)
_MOST_ROWS = 20


def render_page(results: Sequence[DebugResult]) -> str:
    """One section a target and component; needs matplotlib."""
    body = "\n".join(_section(result) for result in results)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Where INT8 loses accuracy</title><style>{_STYLE}</style></head><body>\n"
        f"<h1>Where INT8 loses accuracy</h1>\n{body}\n</body></html>\n"
    )


def _section(result: DebugResult) -> str:
    place = result.device if result.component == "model" else f"{result.device}, {result.component}"
    told = f"{result.scheme} scheme, {result.samples} samples. {result.note}"
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in HEADERS)
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in make_row(layer)) + "</tr>\n"
        for layer in result.worst(_MOST_ROWS)
    )
    return (
        f"<h2>{escape(place)}</h2>\n<p>{escape(told)}</p>\n{plot_layers(result.layers)}\n"
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>\n{rows}</tbody></table></div>'
    )


def plot_layers(layers: Sequence[LayerError]) -> str:
    """Each layer's SQNR (alone, accumulated, in the artifact) and price, in the graph's order, as SVG."""
    if not layers:
        return ""
    lines = {
        "alone": [layer.own.sqnr_db for layer in layers],
        "accumulated": [layer.accumulated.sqnr_db for layer in layers],
        "in the artifact": [
            math.nan if layer.artifact is None else layer.artifact.sqnr_db for layer in layers
        ],
    }
    places = range(1, len(layers) + 1)

    def paint(axes: Any) -> None:
        for colour, (name, values) in zip(COLOURS, lines.items(), strict=False):
            known = [value if math.isfinite(value) else math.nan for value in values]
            if not all(map(math.isnan, known)):
                axes.plot(places, known, ".-", color=colour, linewidth=1, markersize=4, label=name)
        axes.set_xlabel("layer, in the graph's order")
        axes.set_ylabel("SQNR, dB")
        price = axes.twinx()
        top = max((layer.price for layer in layers if math.isfinite(layer.price)), default=1.0)
        price.bar(places, [min(layer.price, 2 * top) for layer in layers], color=COLOURS[3], alpha=0.45)
        price.set_ylabel("price: the outputs' distance")
        price.spines["right"].set_visible(True)
        axes.legend(frameon=False, ncols=3)

    return draw(paint, height=2.8, right=0.7)
