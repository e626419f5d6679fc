"""Multiply-accumulates counted in the .ort file itself: all of them, and those on 8-bit operands."""

from __future__ import annotations

import math
import struct
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit._values import MacShare
from edgekit.targets.ort_mobile.read_ort import read_ort

if TYPE_CHECKING:
    from edgekit.targets.ort_mobile.ort_schema import Table

# TensorDataType of the file format.
_EIGHT_BIT = {2, 3}
_TENSOR_TYPE = 1
_FORMS = ("conv", "conv_transpose", "matmul", "recurrent")


@dataclass(frozen=True)
class MacCount:
    """`macs` is None where the file does not say enough; `reason` then names the node and why."""

    macs: MacShare | None
    reason: str = ""


@dataclass(frozen=True)
class _Rule:
    form: str
    data: int
    weight: int
    integer: tuple[int, ...]


@dataclass(frozen=True)
class _Tensor:
    dims: tuple[int, ...]
    dtype: int


class _UnknownCount(Exception):  # noqa: N818 - never leaves this module
    pass


def count_macs(data: bytes) -> MacCount:
    """Counts over the file's nodes, from the shapes and element types that the file holds."""
    graph = read_ort(data)["model"]["graph"]
    tensors = _tensors(graph)
    rules, uncounted = _rules()
    total = int8 = 0
    weights = {4: 0, 8: 0}
    for node in graph.get("nodes", []):
        op = node["op_type"].decode()
        try:
            if op in uncounted:
                raise _UnknownCount("its multiply-accumulates do not follow from its shapes")
            if op not in rules:
                continue
            macs = _node_macs(rules[op], node, tensors)
        except _UnknownCount as unknown:
            name = node.get("name", b"").decode(errors="replace")
            return MacCount(None, f"MACs are unknown: {op} '{name}': {unknown}")
        total += macs
        if rules[op].integer and all(
            _input(node, index, tensors).dtype in _EIGHT_BIT for index in rules[op].integer
        ):
            int8 += macs
        if op == "MatMulNBits":
            weights[_attribute(node, b"bits")] += macs
    return MacCount(MacShare(int8, total, weight_int8=weights[8], weight_int4=weights[4]))


def op_types(data: bytes) -> list[str]:
    """The op types of the file's main graph, in its node order."""
    return [node["op_type"].decode() for node in read_ort(data)["model"]["graph"].get("nodes", [])]


def _node_macs(rule: _Rule, node: Table, tensors: dict[bytes, _Tensor]) -> int:
    data = _input(node, rule.data, tensors).dims
    weight = _input(node, rule.weight, tensors).dims
    if rule.form == "conv_transpose":
        return math.prod(data) * math.prod(weight[1:])
    if rule.form == "recurrent":
        return data[0] * data[1] * weight[0] * weight[1] * (weight[2] + _input(node, 2, tensors).dims[2])
    out = _lookup(node["outputs"][0], tensors).dims
    if rule.form == "conv":
        return math.prod(out) * math.prod(weight[1:])
    summed = data[-2] if _attribute(node, b"transA") else data[-1]
    return math.prod(out) * summed


def _input(node: Table, index: int, tensors: dict[bytes, _Tensor]) -> _Tensor:
    return _lookup(node["inputs"][index], tensors)


def _lookup(name: bytes, tensors: dict[bytes, _Tensor]) -> _Tensor:
    try:
        return tensors[name]
    except KeyError:
        raise _UnknownCount(
            f"the shape of '{name.decode(errors='replace')}' is not fixed in the file"
        ) from None


def _attribute(node: Table, name: bytes) -> int:
    return next((int(item.get("i", 0)) for item in node.get("attributes", []) if item.get("name") == name), 0)


def _tensors(graph: Table) -> dict[bytes, _Tensor]:
    """Every value whose shape is fixed."""
    tensors: dict[bytes, _Tensor] = {}
    for value in graph.get("node_args", []):
        tag, info = value.get("type", {}).get("value", (0, {}))
        dims = _dims(info.get("shape")) if tag == _TENSOR_TYPE else None
        if dims is not None:
            tensors[value["name"]] = _Tensor(dims, info.get("elem_type", 0))
    for weight in graph.get("initializers", []):
        raw = weight.get("dims", b"")
        tensors[weight["name"]] = _Tensor(
            struct.unpack(f"<{len(raw) // 8}q", raw), weight.get("data_type", 0)
        )
    return tensors


def _dims(shape: Table | None) -> tuple[int, ...] | None:
    """Fixed dims, or None: no shape, or one of its dims is symbolic or unknown."""
    if shape is None:
        return None
    values = [dim.get("value", {}) for dim in shape.get("dim", [])]
    if any(value.get("dim_type") != 1 for value in values):
        return None
    return tuple(int(value.get("dim_value", 0)) for value in values)


@cache
def _rules() -> tuple[dict[str, _Rule], frozenset[str]]:
    table: dict[str, Any] = tomllib.loads(
        (Path(__file__).parent / "mac_ops.toml").read_text(encoding="utf-8")
    )
    rules = {
        op: _Rule(form, row["data"], row["weight"], tuple(row.get("integer", ())))
        for form in _FORMS
        for op, row in table[form].items()
    }
    return rules, frozenset(table["uncounted"]["ops"])
