"""`--option litert.io-layout=nhwc`: 4-dim inputs and outputs of the file lie channels last.

A transpose that stood at the border for the ONNX layout goes; where none stood, one is put in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgekit.targets.litert.graph import Operator, Tensor, int32s

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgekit.targets.litert.graph import Graph

_TO_NHWC = (0, 2, 3, 1)
_TO_NCHW = (0, 3, 1, 2)


def io_to_nhwc(graph: Graph) -> dict[str, str]:
    """Rewrite in place; input or output name -> "NHWC", for every 4-dim one."""
    layouts: dict[str, str] = {}
    for index, tensor in enumerate(tuple(graph.inputs)):
        if len(tensor.shape) == 4:
            graph.inputs[index] = _turn_input(graph, tensor)
            layouts[graph.inputs[index].name] = "NHWC"
    for index, tensor in enumerate(tuple(graph.outputs)):
        if len(tensor.shape) == 4:
            graph.outputs[index] = _turn_output(graph, tensor)
            layouts[graph.outputs[index].name] = "NHWC"
    return layouts


def _turn_input(graph: Graph, plain: Tensor) -> Tensor:
    """A channels-last tensor in place of the input `plain`, with its name."""
    turned = _twin(plain, _TO_NHWC)
    turned.name, plain.name = plain.name, ""
    readers = _readers(graph, plain)
    if plain not in graph.outputs and len(readers) == 1 and readers[0].code == "QUANTIZE":
        integers = readers[0].outputs[0]
        if integers not in graph.outputs:  # the integers are turned instead: a quarter of the bytes
            readers[0].inputs = (turned,)
            readers[0].outputs = (_turn_input(graph, integers),)
            _sort_first(graph, readers[0])
            return turned
    for operator in readers:
        if _moves(operator, plain.shape, _TO_NHWC) and operator.outputs[0] not in graph.outputs:
            _read_instead(graph, operator.outputs[0], turned)
            graph.operators.remove(operator)
    if _readers(graph, plain) or plain in graph.outputs:
        graph.operators.insert(0, _transpose(turned, plain, _TO_NCHW))
    return turned


def _turn_output(graph: Graph, plain: Tensor) -> Tensor:
    """A channels-last tensor in place of the output `plain`, with its name."""
    turned = _twin(plain, _TO_NHWC)
    turned.name, plain.name = plain.name, ""
    maker = next((operator for operator in graph.operators if plain in operator.outputs), None)
    alone = not _readers(graph, plain) and graph.outputs.count(plain) == 1
    if maker is not None and alone and maker.code == "DEQUANTIZE" and maker.inputs[0] is not None:
        graph.operators.remove(maker)
        integers = _turned_back(graph, maker.inputs[0])
        graph.operators.append(Operator("DEQUANTIZE", (integers,), (turned,), maker.options))
        return turned
    source = None if maker is None else maker.inputs[0]
    border = {*graph.inputs, *graph.outputs}
    moved = maker is not None and source is not None and _moves(maker, source.shape, _TO_NCHW)
    if maker is not None and source is not None and moved and alone and source not in border:
        graph.operators.remove(maker)
        source.name = turned.name
        return source
    graph.operators.append(_transpose(plain, turned, _TO_NHWC))
    return turned


def _turned_back(graph: Graph, plain: Tensor) -> Tensor:
    """The channels-last form of an intermediate: what it was transposed from, or a transpose of it."""
    maker = next((operator for operator in graph.operators if plain in operator.outputs), None)
    source = None if maker is None else maker.inputs[0]
    if maker is not None and source is not None and _moves(maker, source.shape, _TO_NCHW):
        if not _readers(graph, plain) and plain not in graph.outputs:
            graph.operators.remove(maker)
        return source
    turned = _twin(plain, _TO_NHWC)
    graph.operators.append(_transpose(plain, turned, _TO_NHWC))
    return turned


def _twin(tensor: Tensor, order: Sequence[int]) -> Tensor:
    shape = tuple(tensor.shape[axis] for axis in order)
    return Tensor(shape, tensor.dtype, None, tensor.quant)


def _transpose(source: Tensor, out: Tensor, order: Sequence[int]) -> Operator:
    """TRANSPOSE, or RESHAPE where only axes of size 1 move."""
    if _is_trivial(source.shape, order):
        shape = np.asarray(out.shape, np.int32)
        return Operator("RESHAPE", (source, int32s(out.shape)), (out,), {"newShape": shape})
    return Operator("TRANSPOSE", (source, int32s(order)), (out,))


def _moves(operator: Operator, shape: Sequence[int], order: Sequence[int]) -> bool:
    """Whether the operator puts axes of `shape` into this order, whatever it is called."""
    if operator.code == "TRANSPOSE" and operator.inputs[1] is not None:
        given = operator.inputs[1].data
        return given is not None and tuple(int(axis) for axis in given) == tuple(order)
    same = operator.outputs[0].shape == tuple(shape[axis] for axis in order) if len(shape) == 4 else False
    return operator.code == "RESHAPE" and same and _is_trivial(shape, order)


def _is_trivial(shape: Sequence[int], order: Sequence[int]) -> bool:
    kept = [axis for axis in order if shape[axis] != 1]
    return kept == sorted(kept)


def _readers(graph: Graph, tensor: Tensor) -> list[Operator]:
    return [operator for operator in graph.operators if tensor in operator.inputs]


def _read_instead(graph: Graph, old: Tensor, new: Tensor) -> None:
    for operator in graph.operators:
        operator.inputs = tuple(new if item is old else item for item in operator.inputs)


def _sort_first(graph: Graph, operator: Operator) -> None:
    """The operator that reads an input runs before all others."""
    graph.operators.remove(operator)
    graph.operators.insert(0, operator)
