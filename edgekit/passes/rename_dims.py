"""Symbolic dims that share a placeholder name ('?', '-1') without being equal -> a name each."""

from __future__ import annotations

import re
from collections import Counter

import onnx_ir as ir

from edgekit.passes._rewire import graphs_of

# Exporters write these where they know nothing: '?', '-1', 'None', 'unk' and the like.
_PLACEHOLDER = re.compile(r"(?i)^(\W.*|-?\d+|none|null|unk|unknown|dynamic|any)?$")


def rename_dims(model: ir.Model) -> int:
    """Give unknown and placeholder dims of the inputs a unique name, `<input>_dim<axis>`.

    Returns how many dims were renamed. Named dims ('batch') keep their names: the model says they are equal.
    Symbolic dims of computed values are forgotten; inference derives them again from the inputs.
    """
    taken = Counter(
        dim.value
        for value in model.graph.inputs
        for dim in value.shape or ()
        if isinstance(dim, ir.SymbolicDim) and dim.value is not None
    )
    renamed = sum(_rename_input(value, taken) for value in model.graph.inputs if value.shape is not None)
    for graph in graphs_of(model):
        for node in graph:
            for value in node.outputs:
                _forget_names(value)
    return renamed


def is_placeholder(dim: int | ir.SymbolicDim) -> bool:
    """Whether a dim says nothing: no name, a placeholder name, or a size of 0 or below."""
    if isinstance(dim, int):
        return dim <= 0
    return dim.value is None or _PLACEHOLDER.match(dim.value) is not None


def _rename_input(value: ir.Value, taken: Counter[str]) -> int:
    dims: list[int | ir.SymbolicDim] = list(value.shape or ())
    renamed = 0
    for axis, dim in enumerate(dims):
        if not is_placeholder(dim):
            continue
        name = f"{value.name}_dim{axis}"
        while taken[name]:
            name += "_"
        taken[name] += 1
        dims[axis] = ir.SymbolicDim(name)
        renamed += 1
    value.shape = ir.Shape(dims)
    return renamed


def _forget_names(value: ir.Value) -> None:
    if value.shape is not None and not value.shape.is_static():
        value.shape = ir.Shape([dim if isinstance(dim, int) and dim >= 0 else None for dim in value.shape])
