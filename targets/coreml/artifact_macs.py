"""Multiply-accumulates counted in the saved program itself: all, and those on int8 data and weights."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit._values import MacShare
from edgekit.targets.coreml.interpret.package import open_package
from edgekit.targets.coreml.interpret.program import Ref, tensor_types, walk
from edgekit.targets.coreml.interpret.read_program import read_functions

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from edgekit.targets.coreml.interpret.program import Block, Operation, TensorType

# Operation -> its two factors' parameters.
_FACTORS = {
    "conv": ("x", "weight"),
    "conv_transpose": ("x", "weight"),
    "linear": ("x", "weight"),
    "lstm": ("x", "weight_ih"),
    "matmul": ("x", "y"),
    "scaled_dot_product_attention": ("query", "value"),
}
_EIGHT_BIT = ("int8", "uint8")
# What restores weights: the parameter that holds their integers.
_RESTORING = {
    "constexpr_affine_dequantize": "quantized_data",
    "constexpr_blockwise_shift_scale": "data",
}
_WEIGHTS_ALONE = {
    "int4": "weight_int4",
    "int8": "weight_int8",
    "uint4": "weight_int4",
    "uint8": "weight_int8",
}


def count_macs(package: Path) -> MacShare | None:
    """From the shapes and types that the file holds; None where a dim is known at run time only."""
    opened = open_package(package)
    function = read_functions(opened)["main"]
    types = tensor_types(function)
    stored = _stored(opened.model)
    for operation in walk(function.block):
        if operation.type == "dequantize":
            stored[operation.outputs[0].name] = types[_name(operation, "input")].dtype
    counts: dict[str, int] = {"total": 0, "int8": 0, "weight_int8": 0, "weight_int4": 0}
    for operation, times in _with_counts(function.block):
        if operation.type not in _FACTORS:
            continue
        macs = _macs(operation, types)
        if macs is None or times is None:
            return None
        macs *= times
        data, weight = (stored.get(_name(operation, name), "") for name in _FACTORS[operation.type])
        counts["total"] += macs
        kind = "int8" if data in _EIGHT_BIT and weight in _EIGHT_BIT else _WEIGHTS_ALONE.get(weight)
        if kind is not None:
            counts[kind] += macs
    return MacShare(**counts)


def _with_counts(block: Block, times: int | None = 1) -> Iterator[tuple[Operation, int | None]]:
    """Every operation, and how often it runs; None where only the run knows (a loop without a fixed end)."""
    for operation in block.operations:
        yield operation, times
        inner = times
        if operation.type == "while_loop":
            end = _loop_end(operation)
            inner = None if end is None or times is None else end * times
        for nested in operation.blocks:
            yield from _with_counts(nested, inner)


def _loop_end(loop: Operation) -> int | None:
    """What the counter is compared to, where that is one constant, as in the loops that edgekit writes."""
    operations = loop.blocks[0].operations
    ends = {item.name: item.value for item in operations if item.type == "const"}
    less = [item for item in operations if item.type == "less"]
    given = less[0].inputs["y"][0] if len(less) == 1 else None
    value = ends.get(given.name) if isinstance(given, Ref) else given
    return None if value is None else int(np.asarray(value).reshape(-1)[0])


def _stored(model: Any) -> dict[str, str]:
    """Restored weight -> the dtype its integers have in the file."""
    from coremltools.proto import MIL_pb2

    function = model.mlProgram.functions["main"]
    found = {}
    for operation in function.block_specializations[function.opset].operations:
        parameter = _RESTORING.get(operation.type)
        if parameter is None:
            continue
        if parameter in operation.attributes:
            kind = operation.attributes[parameter].type.tensorType.dataType
        else:
            kind = operation.inputs[parameter].arguments[0].value.type.tensorType.dataType
        found[operation.outputs[0].name] = MIL_pb2.DataType.Name(kind).lower()
    return found


def _name(operation: Operation, parameter: str) -> str:
    given = operation.inputs.get(parameter, ("",))[0]
    return given.name if isinstance(given, Ref) else ""


def _macs(operation: Operation, types: Mapping[str, TensorType]) -> int | None:
    """conv: weight [O, C/group, *K]; conv_transpose [C, O/group, *K]; linear [O, I]; lstm, attention: two."""
    made = _dims(types.get(operation.outputs[0].name))
    first, second = (_dims(types.get(_name(operation, key))) for key in _FACTORS[operation.type])
    if made is None or first is None or second is None:
        return None
    if operation.type == "conv_transpose":
        return math.prod(first) * math.prod(second[1:])
    if operation.type == "scaled_dot_product_attention":
        return math.prod(first[:-1]) * second[-2] * (first[-1] + second[-1])
    if operation.type == "lstm":
        hidden = second[0] // 4
        ways = made[-1] // hidden
        return first[0] * first[1] * ways * second[0] * (second[1] + hidden)
    if operation.type == "conv":
        return math.prod(made) * math.prod(second[1:])
    return math.prod(made) * first[-1]


def _dims(found: TensorType | None) -> tuple[int, ...] | None:
    if found is None:
        return None
    fixed = tuple(size for size in found.shape if size is not None)
    return fixed if len(fixed) == len(found.shape) else None
