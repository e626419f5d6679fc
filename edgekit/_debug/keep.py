"""Writes what was found: debug.json, and the worst layer cut out with its inputs."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from edgekit._layers import cut_out
from edgekit.errors import OutputError
from edgekit.reports.debug_page import render_page

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edgekit._layer_errors import DebugResult


def save_debug(results: Sequence[DebugResult], folder: Path) -> tuple[Path, ...]:
    """`debug.json`, `debug.html` with matplotlib, and the worst layer: `<device>/layer.onnx`, `inputs.npz`.

    With several components a layer lies in `<device>/<component>/`. Returns the files written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "debug.json"
        file.write_text(
            json.dumps([debug_json(result) for result in results], indent=1, allow_nan=False) + "\n",
            encoding="utf-8",
        )
        written = [file]
        if find_spec("matplotlib"):
            written.append(folder / "debug.html")
            written[-1].write_text(render_page(results), encoding="utf-8")
        for result in results:
            parts = {other.component for other in results}
            place = folder / result.device
            written += _cut_worst(result, place / result.component if len(parts) > 1 else place)
    except OSError as error:
        raise OutputError(
            f"folder '{folder}' cannot be written ({error.strerror})", fix="name another one with -o"
        ) from error
    return tuple(written)


def _cut_worst(result: DebugResult, folder: Path) -> tuple[Path, ...]:
    worst = result.worst(1)
    if not worst:
        return ()
    folder.mkdir(parents=True, exist_ok=True)
    borders = {layer.tensor for layer in result.layers}
    return cut_out(result.float_model, worst[0].tensor, borders, feeds=result.feeds[0], folder=folder)


def debug_json(result: DebugResult) -> dict[str, Any]:
    """The result without its models, in JSON types."""
    return {
        "schema": "edgekit.debug",
        "version": 1,
        "device": result.device,
        "component": result.component,
        "scheme": result.scheme,
        "samples": result.samples,
        "note": result.note,
        "layers": [_plain(asdict(layer)) for layer in result.layers],
        "outputs": [_plain(asdict(output)) for output in result.outputs],
    }


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return {name: _plain(item) for name, item in value.items()} if isinstance(value, dict) else value
