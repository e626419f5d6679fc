"""Layers as a report shows them: what each takes beside what INT8 loses there, joined by names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekit._strict_json import read_json
from edgekit.errors import BundleError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from edgekit._device_tool import LayerTime

_MOST_BYTES = 256 << 20
# What runtimes make of a node's name: ONNX Runtime's fusions number it, LiteRT's tools name its results,
# TensorRT joins what it fused by " + ".
_FUSED = re.compile(r"_token_\d+$")
_RESULTS = re.compile(r"^(?:Delegate/)?\[?(.*?)\]?(?::\d+)?$")


@dataclass(frozen=True)
class ErrorRow:
    """What one layer loses: SQNR in dB against fp32 alone, with its real inputs, and in the target's file."""

    node: str
    tensor: str
    op: str
    own_db: float
    accumulated_db: float
    artifact_db: float | None
    blame: str


@dataclass(frozen=True)
class LayerRow:
    """One layer of an artifact; `us` is None for an error that no timed layer is known by."""

    name: str
    op: str
    us: float | None
    error: ErrorRow | None


def debug_file(bundle: Path) -> Path:
    """`<bundle>.debug/debug.json`, where `edgekit debug -o <bundle>.debug` puts it."""
    whole = bundle.absolute()
    return whole.parent / f"{whole.name.removesuffix('.tar.gz')}.debug" / "debug.json"


def load_errors(path: Path, device: str) -> tuple[ErrorRow, ...]:
    """The rows of one device in a debug.json; () where it has none. BundleError where it is no such file."""
    try:
        results = read_json(path, _MOST_BYTES)
        rows = [row for row in results if row["device"] == device]
        if any((row["schema"], row["version"]) != ("edgekit.debug", 1) for row in results):
            raise ValueError("another schema")
        return tuple(_error(layer) for row in rows for layer in row["layers"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(
            f"'{path}' is no debug.json of edgekit ({type(error).__name__}: {error})",
            fix="run `edgekit debug -o FOLDER` again, or remove the file",
        ) from error


def _error(layer: dict[str, Any]) -> ErrorRow:
    artifact = layer["artifact"]
    return ErrorRow(
        node=str(layer["node"]),
        tensor=str(layer["tensor"]),
        op=str(layer["op"]),
        own_db=float(layer["own"]["sqnr_db"]),
        accumulated_db=float(layer["accumulated"]["sqnr_db"]),
        artifact_db=None if artifact is None else float(artifact["sqnr_db"]),
        blame=str(layer["blame"]),
    )


def join_layers(times: Sequence[LayerTime], errors: Sequence[ErrorRow]) -> tuple[LayerRow, ...]:
    """Timed layers, the slowest first, each with its error; then the errors that no layer is known by."""
    known = {name: row for row in reversed(errors) for name in (row.tensor, row.node)}
    rows, met = [], set[ErrorRow]()
    for layer in sorted(times, key=lambda layer: -layer.us):
        error = next((known[name] for name in _names(layer.name) if name in known), None)
        rows.append(LayerRow(layer.name, layer.op, layer.us, error if error not in met else None))
        met |= {error} if error is not None else set()
    left = sorted((row for row in errors if row not in met), key=lambda row: row.own_db)
    return (*rows, *(LayerRow(row.node, row.op, None, row) for row in left))


def _names(name: str) -> Iterator[str]:
    """What a runtime's name for a layer may be in the source model."""
    yield name
    yield _FUSED.sub("", name)
    results = _RESULTS.match(name)
    if results is not None:
        yield results[1]
        yield from (part.strip() for part in re.split(r", | \+ ", results[1]))
