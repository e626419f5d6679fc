"""Set input dims from what the user gave: fixed sizes become numbers, ranges stay dynamic."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

import onnx_ir as ir

from edgekit.errors import ModelError
from edgekit.passes._rewire import graphs_of
from edgekit.passes.rename_dims import rename_dims

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgekit._values import DimRange, ShapeSpec


def fix_shapes(model: ir.Model, shapes: ShapeSpec) -> int:
    """Set the dims of the named inputs, each by its position; returns how many dims changed.

    A range keeps a symbolic dim. Shapes of computed values are forgotten (they may be those of
    another size) and must be inferred again. A 0 is taken where the model itself says 0, which many
    exporters write for "unknown". Raises ModelError for an unknown input, a wrong rank, a size that
    contradicts a fixed dim, and an input that has a dynamic dim and no shape given.
    """
    weights = model.graph.initializers
    inputs = {value.name or "": value for value in model.graph.inputs if value.name not in weights}
    empty = _empty_dims(inputs)
    rename_dims(model)
    for name in shapes:
        if name not in inputs:
            raise _unknown_input(name, list(inputs))
    equal = _equal_dims(inputs, shapes)
    changed = sum(
        _fix_input(value, shapes[name], equal, empty) if name in shapes else _require_static(value)
        for name, value in inputs.items()
    )
    if changed:
        _forget_shapes(model)
    return changed


def _equal_dims(inputs: Mapping[str, ir.Value], shapes: ShapeSpec) -> frozenset[str]:
    """Names of dims that the user gave the same range wherever the model uses the name."""
    ranges: dict[str, set[DimRange]] = {}
    for name, dims in shapes.items():
        for dim, wish in zip(inputs[name].shape or (), dims, strict=False):
            if isinstance(dim, ir.SymbolicDim) and dim.value is not None:
                ranges.setdefault(dim.value, set()).add(wish)
    return frozenset(name for name, wishes in ranges.items() if len(wishes) == 1)


def _empty_dims(inputs: Mapping[str, ir.Value]) -> frozenset[tuple[str, int]]:
    """(input, axis) where the model itself says 0."""
    return frozenset(
        (name, axis)
        for name, value in inputs.items()
        for axis, dim in enumerate(value.shape or ())
        if isinstance(dim, int) and dim == 0
    )


def _fix_input(
    value: ir.Value, dims: tuple[DimRange, ...], equal: frozenset[str], empty: frozenset[tuple[str, int]]
) -> int:
    given = ",".join(str(dim) for dim in dims)
    old: list[int | ir.SymbolicDim] = [ir.SymbolicDim(None) for _ in dims]
    if value.shape is not None:
        old = list(value.shape)
    if len(old) != len(dims):
        raise ModelError(
            f"input '{value.name}' has {len(old)} dims {_text(value)}, the shape given {len(dims)} ({given})",
            fix=f"give --shape {value.name}=... with {len(old)} dims",
        )
    new: list[int | ir.SymbolicDim] = []
    for axis, (dim, wish) in enumerate(zip(old, dims, strict=True)):
        none = wish.low == wish.high == 0 and (value.name or "", axis) in empty
        if not none and not 1 <= wish.low <= wish.high:
            raise ModelError(
                f"input '{value.name}' axis {axis}: {wish.low}..{wish.high} is no range of sizes",
                fix="give a size of at least 1, or low..high",
            )
        if isinstance(dim, int) and (wish.low, wish.high) != (dim, dim):
            raise ModelError(
                f"input '{value.name}' axis {axis} is {dim} in the model, the shape given says {wish}",
                fix=f"give {dim} there, or export the model with a dynamic dim",
            )
        new.append(wish.low if wish.is_fixed else _dynamic(f"{value.name}_dim{axis}", dim, equal))
    value.shape = ir.Shape(new)
    return sum(before != after for before, after in zip(old, new, strict=True))


def _dynamic(name: str, dim: int | ir.SymbolicDim, equal: frozenset[str]) -> ir.SymbolicDim:
    if isinstance(dim, ir.SymbolicDim) and dim.value in equal:
        return dim
    return ir.SymbolicDim(name)


def _require_static(value: ir.Value) -> int:
    if value.shape is None:
        raise ModelError(
            f"input '{value.name}' has no shape in the model", fix=f"give one: --shape {value.name}=1,..."
        )
    for axis, dim in enumerate(value.shape):
        if not isinstance(dim, int):
            batch = value.shape[0] if isinstance(value.shape[0], int) else 1
            example = ",".join(
                str(size) if isinstance(size, int) else "?" for size in (batch, *value.shape[1:])
            )
            raise ModelError(
                f"input '{value.name}' {_text(value)} has no size on axis {axis}",
                fix=f"give a size for each ?: --shape {value.name}={example} (LOW..HIGH keeps it dynamic)",
            )
    return 0


def _unknown_input(name: str, names: list[str]) -> ModelError:
    nearest = get_close_matches(name, names, n=1, cutoff=0.0) or names
    return ModelError(
        f"the model has no input '{name}'; its inputs are {', '.join(repr(known) for known in names)}",
        fix=f"did you mean '{nearest[0]}'?" if nearest else "give no shape",
    )


def _text(value: ir.Value) -> str:
    dims = [] if value.shape is None else list(value.shape)
    return "[" + ", ".join(str(dim) if isinstance(dim, int) else dim.value or "?" for dim in dims) + "]"


def _forget_shapes(model: ir.Model) -> None:
    for graph in graphs_of(model):
        for node in graph:
            for value in node.outputs:
                value.shape = None
