"""Loads placement.toml: how each op takes part in int8 islands."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Literal

from edgekit.passes._rewire import input_of
from edgekit.passes._scale_weights import has_channel_bias

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx_ir as ir

OpKind = Literal["compute", "carry", "group", "regroup", "free", "pointwise"]


@dataclass(frozen=True)
class Placement:
    """One op's row: its kind, its activation inputs ("all" for variadic ops) and its parameters."""

    kind: OpKind
    data: tuple[int, ...] | Literal["all"]
    reason: str
    weight: int | None = None
    bias: int | None = None
    float_output: Literal[True, False] = False


@cache
def load_placement() -> Mapping[str, Placement]:
    """Op type -> its row of placement.toml."""
    text = files("edgekit._qdq").joinpath("placement.toml").read_text(encoding="utf-8")
    table = tomllib.loads(text)
    return {op: Placement(**{**row, "data": _as_data(row["data"])}) for op, row in table.items()}


def place(node: ir.Node) -> Placement | None:
    """The row of this node, or None where its op (or its domain) has none and it stays float."""
    if node.domain not in ("", "ai.onnx"):
        return None
    row = load_placement().get(node.op_type)
    if row and node.op_type == "Resize" and _resizes_by_picking(node):
        return Placement("carry", row.data, "nearest only picks values")
    if node.op_type == "Pad" and not _pads_within_range(node):
        return None
    return row


def activation_inputs(node: ir.Node) -> tuple[ir.Value, ...]:
    """The float tensors this node computes on that are not constants, without repeats, in order."""
    row = place(node)
    if row is None or row.data == "all":
        values = list(node.inputs)
    else:
        values = [node.inputs[index] for index in row.data if index < len(node.inputs)]
    found = [value for value in values if value is not None and value.const_value is None]
    return tuple(dict.fromkeys(found))


def has_int8_form(node: ir.Node) -> bool:
    """Convolutions need constant weights and biases; a Gemm alpha and beta of 1 and a bias a column."""
    if node.op_type == "MatMul":
        return node.inputs[0] is not None and node.inputs[0].const_value is None
    weight, bias = input_of(node, 1), input_of(node, 2)
    if weight is None or weight.const_value is None:
        return False
    if bias is not None and (bias.const_value is None or not has_channel_bias(node)):
        return False
    if node.op_type != "Gemm":
        return True
    names = ("alpha", "beta", "transA")
    neutral = (1.0, 1.0, 0)
    return all(
        name not in node.attributes or node.attributes[name].value == value
        for name, value in zip(names, neutral, strict=True)
    )


def _resizes_by_picking(node: ir.Node) -> bool:
    """Nearest, and never the extrapolation value that tf_crop_and_resize brings in."""
    mode, crop = _text(node, "mode", "nearest"), _text(node, "coordinate_transformation_mode", "")
    return mode == "nearest" and crop != "tf_crop_and_resize"


def _pads_within_range(node: ir.Node) -> bool:
    """By zeros, which every scale holds exactly, or by values of the tensor itself."""
    if _text(node, "mode", "constant") != "constant":
        return True
    filler = node.inputs[2] if len(node.inputs) > 2 else None
    return filler is None or (filler.const_value is not None and not filler.const_value.numpy().any())


def _text(node: ir.Node, attribute: str, default: str) -> str:
    found = node.attributes.get(attribute)
    return default if found is None else found.as_string()


def _as_data(given: list[int] | str) -> tuple[int, ...] | str:
    return given if isinstance(given, str) else tuple(given)
