"""Multiply-accumulates counted in the saved program itself: all, and those on int8 data and weights."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from edgekit._values import MacShare
from edgekit.targets.coreml.interpret.package import open_package
from edgekit.targets.coreml.interpret.program import Ref, tensor_types, walk
from edgekit.targets.coreml.interpret.read_program import read_functions

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from edgekit.targets.coreml.interpret.program import Function, Operation, TensorType

# Operation -> its two factors' parameters.
_FACTORS = {
    "conv": ("x", "weight"),
    "conv_transpose": ("x", "weight"),
    "linear": ("x", "weight"),
    "lstm": ("x", "weight_ih"),
    "matmul": ("x", "y"),
}
_EIGHT_BIT = ("int8", "uint8")
# What restores integers: the parameter that holds them.
_RESTORING = {
    "constexpr_affine_dequantize": "quantized_data",
    "constexpr_blockwise_shift_scale": "data",
    "dequantize": "input",
}


def count_macs(package: Path) -> MacShare | None:
    """From the shapes and types that the file holds; None where a dim is known at run time only."""
    functions = read_functions(open_package(package))
    return _count(functions["main"])


def _count(function: Function) -> MacShare | None:
    types = tensor_types(function)
    makers = {output.name: item for item in walk(function.block) for output in item.outputs}
    total = int8 = 0
    for operation in walk(function.block):
        if operation.type not in _FACTORS:
            continue
        macs = _macs(operation, types)
        if macs is None:
            return None
        total += macs
        factors = (_name(operation, parameter) for parameter in _FACTORS[operation.type])
        if all(_restores_int8(makers.get(name), types) for name in factors):
            int8 += macs
    return MacShare(int8=int8, total=total)


def _name(operation: Operation, parameter: str) -> str:
    given = operation.inputs.get(parameter, ("",))[0]
    return given.name if isinstance(given, Ref) else ""


def _restores_int8(maker: Operation | None, types: Mapping[str, TensorType]) -> bool:
    if maker is None or maker.type not in _RESTORING:
        return False
    given = maker.inputs[_RESTORING[maker.type]][0]
    if isinstance(given, Ref):
        return types[given.name].dtype in _EIGHT_BIT
    kind = getattr(given, "dtype", None)
    return getattr(kind, "name", str(kind)) in _EIGHT_BIT


def _macs(operation: Operation, types: Mapping[str, TensorType]) -> int | None:
    """conv: weight [O, C/group, *K]; conv_transpose [C, O/group, *K]; linear [O, I]; lstm: both products."""
    made = _dims(types.get(operation.outputs[0].name))
    first, second = (_dims(types.get(_name(operation, key))) for key in _FACTORS[operation.type])
    if made is None or first is None or second is None:
        return None
    if operation.type == "conv_transpose":
        return math.prod(first) * math.prod(second[1:])
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
