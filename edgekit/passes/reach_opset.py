"""Opset 17 or later -> a newer one, for what only that one can say (int4, blocks of weights)."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx_ir as ir

from edgekit.errors import ModelError
from edgekit.passes._rewire import Names, all_nodes, graph_of, input_of

if TYPE_CHECKING:
    from collections.abc import Callable


def reach_opset(model: ir.Model, version: int) -> int:
    """Bring the model up to opset `version`, 18 to 21; returns how many nodes changed.

    ModelError names a node whose meaning changed on the way and has no newer form here.
    """
    current = model.opset_imports.get("", version)
    if current >= version:
        return 0
    names = Names(model)
    changed = sum(_reach(node, current, version, names) for node in all_nodes(model) if not node.domain)
    model.opset_imports[""] = version
    return changed


def _reach(node: ir.Node, current: int, version: int, names: Names) -> bool:
    since = onnx.defs.get_schema(node.op_type, version, "").since_version
    node.version = None
    if since <= current:
        return False
    change = _CHANGES.get(node.op_type)
    if change is not None:
        change(node, current, names)
        return True
    if node.op_type not in _widened() or not any(
        current < item <= version for item in _widened()[node.op_type]
    ):
        raise _refuse(node, f"its meaning changed in opset {since}")
    return False


@cache
def _widened() -> dict[str, list[int]]:
    text = (files("edgekit.passes") / "opset_changes.toml").read_text(encoding="utf-8")
    table: dict[str, list[int]] = tomllib.loads(text)["widened"]
    return table


def _refuse(node: ir.Node, why: str) -> ModelError:
    return ModelError(
        f"{node.op_type} '{node.name}': {why}", fix="export the model with opset 21, or use --precision w8"
    )


def _axes_as_input(node: ir.Node, current: int, names: Names) -> None:
    """Reduce* 18: the attribute axes became an input."""
    axes = node.attributes.pop("axes", None) if current < 18 else None
    if axes is not None:
        array = np.array(axes.as_ints(), np.int64)
        node.resize_inputs(2)
        node.replace_input_with(
            1, names.add_initializer(graph_of(node), f"{node.outputs[0].name}/axes", array)
        )


def _count_parts(node: ir.Node, current: int, _: Names) -> None:
    """Split 18: without sizes, how many parts it makes is an attribute."""
    if current < 18 and input_of(node, 1) is None:
        node.attributes["num_outputs"] = ir.AttrInt64("num_outputs", len(node.outputs))


def _refuse_overhang(node: ir.Node, current: int, _: Names) -> None:
    """AveragePool 19: windows that ceil_mode lets hang over the edge are averaged otherwise."""
    mode = node.attributes.get("ceil_mode")
    if current < 19 and mode is not None and mode.as_int():
        raise _refuse(node, "ceil_mode=1 averages otherwise since opset 19")


def _rename_modes(node: ir.Node, current: int, _: Names) -> None:
    """GridSample 20: bilinear is called linear, bicubic cubic."""
    mode = node.attributes.get("mode")
    if current < 20:
        old = "bilinear" if mode is None else mode.as_string()
        node.attributes["mode"] = ir.AttrString(
            "mode", {"bilinear": "linear", "bicubic": "cubic"}.get(old, old)
        )


def _keep(_node: ir.Node, _current: int, _: Names) -> None:
    """LpPool 18, QLinearMatMul 21: what is new has a default that means the old."""


_REDUCTIONS = "L1 L2 LogSum LogSumExp Max Mean Min Prod SumSquare"
_CHANGES: dict[str, Callable[[ir.Node, int, Names], None]] = {
    **{f"Reduce{name}": _axes_as_input for name in _REDUCTIONS.split()},
    "AveragePool": _refuse_overhang,
    "GridSample": _rename_modes,
    "LpPool": _keep,
    "QLinearMatMul": _keep,
    "Split": _count_parts,
}
