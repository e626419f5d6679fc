"""Peepholes on the finished graph: unused operators go, reshapes of reshapes merge, clamps fuse."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgekit.targets.litert.graph import Graph, Operator, Tensor

_CLAMPS = {"RELU": "RELU", "RELU6": "RELU6", "RELU_N1_TO_1": "RELU_N1_TO_1"}
_FUSING = frozenset(
    (
        "CONV_2D",
        "DEPTHWISE_CONV_2D",
        "FULLY_CONNECTED",
        "ADD",
        "SUB",
        "MUL",
        "DIV",
        "AVERAGE_POOL_2D",
        "MAX_POOL_2D",
    )
)


def polish(graph: Graph) -> None:
    """Rewrite in place; the numbers stay the same."""
    _drop_unused(graph)
    _fuse_clamps(graph)
    _merge_reshapes(graph)
    _drop_unused(graph)


def _drop_unused(graph: Graph) -> None:
    wanted = set(graph.outputs)
    kept: list[Operator] = []
    for operator in reversed(graph.operators):
        if wanted.intersection(operator.outputs):
            kept.append(operator)
            wanted.update(item for item in operator.inputs if item is not None)
    graph.operators[:] = reversed(kept)


def _makers(graph: Graph) -> dict[Tensor, Operator]:
    return {tensor: operator for operator in graph.operators for tensor in operator.outputs}


def _readers(graph: Graph) -> Counter[Tensor]:
    counts = Counter(item for operator in graph.operators for item in operator.inputs if item is not None)
    counts.update(graph.outputs)
    return counts


def _merge_reshapes(graph: Graph) -> None:
    """A reshape of a reshape is one; back to the first shape, it is none."""
    makers = _makers(graph)
    same: dict[Tensor, Tensor] = {}
    for operator in graph.operators:
        operator.inputs = tuple(None if item is None else same.get(item, item) for item in operator.inputs)
        if operator.code != "RESHAPE":
            continue
        source = operator.inputs[0]
        maker = makers.get(source) if source is not None else None
        if maker is not None and maker.code == "RESHAPE":
            source = maker.inputs[0]
            operator.inputs = (source, operator.inputs[1])
        out = operator.outputs[0]
        if source is not None and source.shape == out.shape and out not in graph.outputs:
            same[out] = source


def _fuse_clamps(graph: Graph) -> None:
    """op -> clamp in one operator, where the op has such a field and nobody else reads its result."""
    makers, readers = _makers(graph), _readers(graph)
    for operator in tuple(graph.operators):
        source = operator.inputs[0]
        if operator.code not in _CLAMPS or source is None or readers[source] != 1:
            continue
        last = maker = makers.get(source)
        while maker is not None and maker.code == "RESHAPE":  # it moves nothing and rounds nothing
            moved = maker.inputs[0]
            maker = makers.get(moved) if moved is not None and readers[moved] == 1 else None
        if maker is None or maker.code not in _FUSING or source.dtype not in ("float32", "int8"):
            continue
        if source.quant != operator.outputs[0].quant or "fusedActivationFunction" in maker.options:
            continue
        assert last is not None
        maker.options["fusedActivationFunction"] = _CLAMPS[operator.code]
        last.outputs = operator.outputs
        makers[operator.outputs[0]] = last
        graph.operators.remove(operator)
