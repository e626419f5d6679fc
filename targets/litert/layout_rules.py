"""How ops along axes follow a new order of axes: a row an op, each a few lines."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.passes._rewire import constant_array, input_of

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnx_ir as ir

    Perm = tuple[int, ...]
    # What order the data must have, what order the outputs have, new attributes, new constant inputs.
    Outcome = tuple[Perm, Perm, dict[str, int | list[int]], dict[int, np.ndarray]]


@cache
def _table() -> dict[str, Any]:
    return tomllib.loads((Path(__file__).parent / "layout.toml").read_text(encoding="utf-8"))


def family(node: ir.Node) -> str:
    """transpose, reshape, spatial, elementwise, axis or plain."""
    elementwise = node.op_type in _table()["elementwise"]  # the first operand may be a scalar factor
    rank = max((_rank(value) for value in node.inputs[: None if elementwise else 1]), default=0)
    per_axis = node.op_type in ("QuantizeLinear", "DequantizeLinear") and _rank(node.inputs[1]) > 0
    if node.domain or rank < 1 or per_axis:
        return "plain"
    if node.op_type in _MOVING:
        return _MOVING[node.op_type]
    if node.op_type in _table()["spatial"]:
        return "spatial" if rank >= 3 and not is_whole(node) else "plain"
    if elementwise:
        return "elementwise"
    return "axis" if node.op_type in AXIS_RULES else "plain"


_MOVING = {"Transpose": "transpose", "Reshape": "reshape", "Unsqueeze": "reshape"}


def is_whole(node: ir.Node) -> bool:
    """Forms that LiteRT has no operator for: they are one map of the whole tensor, in the ONNX layout."""
    if node.op_type == "Resize":
        mode, policy = (
            node.attributes[name].as_string() if name in node.attributes else ""
            for name in ("coordinate_transformation_mode", "keep_aspect_ratio_policy")
        )
        return mode == "tf_crop_and_resize" or policy in ("not_larger", "not_smaller")
    return node.op_type == "ConvTranspose" and _rank(node.inputs[0]) == 5


def _rank(value: ir.Value | None) -> int:
    return len(value.shape) if value is not None and value.shape is not None else 0


def _at(node: ir.Node, name: str, default: int) -> int:
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.as_int()


def _one_axis(default: int) -> Callable[[ir.Node, Perm], Outcome | None]:
    """The attribute `axis` is renamed."""

    def rule(node: ir.Node, perm: Perm) -> Outcome | None:
        axis = perm[_at(node, "axis", default) % len(perm)]
        return perm, perm, {"axis": axis}, {}

    return rule


def _last_axis(node: ir.Node, perm: Perm) -> Outcome | None:
    """Softmax and its kin run along the last physical axis: it is made so where it is not."""
    rank = len(perm)
    axis = _at(node, "axis", -1) % rank
    if perm[axis] != rank - 1:
        others = [i for i in range(rank) if i != axis]
        perm = tuple(rank - 1 if i == axis else others.index(i) for i in range(rank))
    return perm, perm, {"axis": rank - 1}, {}


def _reduce(node: ir.Node, perm: Perm) -> Outcome | None:
    """Axes come as input 1 or as an attribute; without keepdims the remaining axes close up."""
    rank = len(perm)
    given = constant_array(input_of(node, 1))
    if given is None and "axes" in node.attributes:
        given = np.array(node.attributes["axes"].as_ints())
    empty = given is None or not given.size
    if empty and (input_of(node, 1) is not None or _at(node, "noop_with_empty_axes", 0)):
        return None
    axes = [int(axis) % rank for axis in given] if given is not None and given.size else list(range(rank))
    moved = sorted(perm[axis] for axis in axes)
    made = perm if _at(node, "keepdims", 1) else _closed_up(perm, axes)
    if "axes" in node.attributes:
        return perm, made, {"axes": moved}, {}
    return (perm, made, {}, {1: np.array(moved, np.int64)}) if given is not None else (perm, made, {}, {})


def _arg_reduce(node: ir.Node, perm: Perm) -> Outcome | None:
    axis = _at(node, "axis", 0) % len(perm)
    made = perm if _at(node, "keepdims", 1) else _closed_up(perm, [axis])
    return perm, made, {"axis": perm[axis]}, {}


def _closed_up(perm: Perm, axes: list[int]) -> Perm:
    left = [perm[i] for i in range(len(perm)) if i not in axes]
    return tuple(sorted(left).index(axis) for axis in left)


def _pad(node: ir.Node, perm: Perm) -> Outcome | None:
    pads = constant_array(input_of(node, 1))
    if pads is None or input_of(node, 3) is not None:
        return None
    rank = len(perm)
    moved = np.zeros(2 * rank, np.int64)
    for logical, axis in enumerate(perm):
        moved[axis], moved[rank + axis] = pads[logical], pads[rank + logical]
    return perm, perm, {}, {1: moved}


def _slice(node: ir.Node, perm: Perm) -> Outcome | None:
    """Axes (input 3) are renamed; where they are left out, they are written down."""
    starts, axes = (constant_array(input_of(node, index)) for index in (1, 3))
    if starts is None or len(node.inputs) < 4:
        return None
    if axes is None:
        if input_of(node, 3) is not None:
            return None
        axes = np.arange(len(starts))
    return perm, perm, {}, {3: np.array([perm[int(axis) % len(perm)] for axis in axes], np.int64)}


def _tile(node: ir.Node, perm: Perm) -> Outcome | None:
    repeats = constant_array(input_of(node, 1))
    if repeats is None:
        return None
    moved = np.ones(len(perm), np.int64)
    for logical, axis in enumerate(perm):
        moved[axis] = repeats[logical]
    return perm, perm, {}, {1: moved}


def _gather(node: ir.Node, perm: Perm) -> Outcome | None:
    return _one_axis(0)(node, perm) if _rank(node.inputs[1]) == 1 else None


def _squeeze(node: ir.Node, perm: Perm) -> Outcome | None:
    axes = constant_array(input_of(node, 1))
    if axes is None:
        return None
    rank = len(perm)
    gone = [int(axis) % rank for axis in axes]
    return perm, _closed_up(perm, gone), {}, {1: np.array(sorted(perm[axis] for axis in gone), np.int64)}


AXIS_RULES: dict[str, Callable[[ir.Node, Perm], Outcome | None]] = {
    "ArgMax": _arg_reduce,
    "ArgMin": _arg_reduce,
    "Concat": _one_axis(0),
    "Gather": _gather,
    "Hardmax": _last_axis,
    "LogSoftmax": _last_axis,
    "Pad": _pad,
    "Slice": _slice,
    "Softmax": _last_axis,
    "Split": _one_axis(0),
    "Squeeze": _squeeze,
    "Tile": _tile,
    "TopK": _last_axis,
    **{
        f"Reduce{kind}": _reduce
        for kind in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")
    },
}
