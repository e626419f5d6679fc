"""softmax(query @ key^T * scale + mask) @ value in a MIL graph -> iOS 18's one operation for it."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgekit.targets.coreml.formula import broadcast_shape
from edgekit.targets.coreml.graph import Operator, Tensor, constant

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgekit.targets.coreml.graph import Graph

FIRST_LEVEL = 18
_LEAST_DIMS = 3
_EXACT = 1e-6  # a factor this close to 1 is rounding of 1 / sqrt(E)


@dataclass(frozen=True)
class _Attention:
    """What was found: its operands, the factor on the scores, and the operations that go."""

    query: Tensor
    key: Tensor
    key_order: tuple[int, ...] | None
    value: Tensor
    mask: Tensor | None
    scale: float
    inner: tuple[Operator, ...]
    last: Operator


def fuse_attention(graph: Graph) -> int:
    """Rewrite the graph in place; how many attentions became one operation each.

    What lies inside must have no other reader. A key that comes transposed is taken from before that; a scale
    other than 1 / sqrt(E), which the operation has built in, is put on the query.
    """
    view = _View(graph)
    found = [attention for attention in view.attentions() if _has_form(attention)]
    gone = {id(operator) for attention in found for operator in attention.inner}
    ends = {id(attention.last): attention for attention in found}
    operators, graph.operators = graph.operators, []
    for operator in operators:
        if id(operator) in ends:
            _write(graph, ends[id(operator)])
        elif id(operator) not in gone:
            graph.operators.append(operator)
    return len(found)


class _View:
    """Who makes a tensor, and how often it is read."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._makers = {id(made): item for item in graph.operators for made in item.outputs}
        self._reads = Counter(id(tensor) for item in graph.operators for tensor in _operands(item))
        self._reads.update(id(tensor) for tensor in graph.outputs)

    def attentions(self) -> Iterator[_Attention]:
        for operator in self._graph.operators:
            found = self._match(operator) if operator.code == "matmul" else None
            if found is not None:
                yield found

    def _inner(self, tensor: Tensor, code: str) -> Operator | None:
        """The operation of this code that makes the tensor for one reader alone."""
        maker = self._makers.get(id(tensor))
        return maker if maker is not None and maker.code == code and self._reads[id(tensor)] == 1 else None

    def _match(self, last: Operator) -> _Attention | None:
        probabilities, value = last.inputs["x"], last.inputs["y"]
        softmax = self._inner(probabilities, "softmax")
        if softmax is None or last.inputs["transpose_x"] or last.inputs["transpose_y"]:
            return None
        if softmax.inputs["axis"] not in (-1, probabilities.rank - 1):
            return None
        scores, mask, added = self._unmasked(softmax.inputs["x"])
        scores, scale, scaled = self._unscaled(scores)
        product = self._inner(scores, "matmul")
        if product is None or product.inputs["transpose_x"]:
            return None
        query, left, scaled_query = self._unscaled(product.inputs["x"])
        key, right, scaled_key = self._unscaled(product.inputs["y"])
        order, turned = None, tuple[Operator, ...]()
        if not product.inputs["transpose_y"]:
            turn = self._inner(key, "transpose")
            if turn is None:
                return None
            *front, before, behind = turn.inputs["perm"]
            key, order, turned = turn.inputs["x"], (*front, behind, before), (turn,)
        inner = (softmax, *added, *scaled, product, *scaled_query, *scaled_key, *turned)
        return _Attention(query, key, order, value, mask, scale * left * right, inner, last)

    def _unmasked(self, scores: Tensor) -> tuple[Tensor, Tensor | None, tuple[Operator, ...]]:
        """(what the mask is added to, the mask, the addition)."""
        add = self._inner(scores, "add")
        if add is None:
            return scores, None, ()
        for key, other in (("x", "y"), ("y", "x")):
            rest, mask = add.inputs[key], add.inputs[other]
            product = self._inner(self._unscaled(rest)[0], "matmul")
            if product is not None and rest.shape == scores.shape:
                return rest, mask, (add,)
        return scores, None, ()

    def _unscaled(self, x: Tensor) -> tuple[Tensor, float, tuple[Operator, ...]]:
        """(what a constant number multiplies or divides, the factor, those operations)."""
        factor, found = 1.0, tuple[Operator, ...]()
        while True:
            step = self._inner(x, "mul") or self._inner(x, "real_div")
            pair = None if step is None else _number_and_rest(step)
            if step is None or pair is None or pair[1].shape != x.shape:
                return x, factor, found
            number, x = pair
            factor = factor * number if step.code == "mul" else factor / number
            found = (*found, step)


def _number_and_rest(step: Operator) -> tuple[float, Tensor] | None:
    """A constant number (not 0) of a product or a divisor, and the other operand."""
    for key, other in (("y", "x"), ("x", "y"))[: 2 if step.code == "mul" else 1]:
        array = step.inputs[key].array
        if array is not None and array.size == 1 and float(array.reshape(())) != 0.0:
            return float(array.reshape(())), step.inputs[other]
    return None


def _operands(operator: Operator) -> Iterator[Tensor]:
    for value in operator.inputs.values():
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from (item for item in value if isinstance(item, Tensor))


def _has_form(found: _Attention) -> bool:
    """One rank from 3 on, one batch in all three, and a mask over all keys that spreads to the scores."""
    shapes = [found.query.shape, _ordered(found.key.shape, found.key_order), found.value.shape]
    batch, ranks = shapes[0][:-2], {len(shape) for shape in shapes}
    if len(ranks) > 1 or len(batch) + 2 < _LEAST_DIMS or any(shape[:-2] != batch for shape in shapes):
        return False
    if not all(item.is_static and item.dtype == "float32" for item in (found.query, found.key, found.value)):
        return False
    scores = (*batch, shapes[0][-2], shapes[1][-2])
    mask = found.mask
    if mask is None:
        return True
    return (
        mask.shape[-1:] == scores[-1:]
        and mask.rank <= len(scores)
        and broadcast_shape(mask.shape, scores) == scores
    )


def _ordered(shape: tuple[int | str, ...], order: tuple[int, ...] | None) -> tuple[int | str, ...]:
    return shape if order is None else tuple(shape[axis] for axis in order)


def _write(graph: Graph, found: _Attention) -> None:
    """The operation, with what its query and key need before it."""
    query, key = found.query, found.key
    if found.key_order is not None and found.key_order != tuple(range(key.rank)):
        moved = Tensor(_ordered(key.shape, found.key_order), key.dtype)
        graph.add("transpose", {"x": key, "perm": list(found.key_order)}, [moved])
        key = moved
    factor = found.scale * math.sqrt(query.sizes[-1])
    if abs(factor - 1) > _EXACT:
        scaled = Tensor(query.shape, query.dtype)
        number = constant(np.asarray(factor, np.float32))
        graph.add("mul", {"x": query, "y": number}, [scaled])
        query = scaled
    inputs = {"query": query, "key": key, "value": found.value, "attn_mask": found.mask}
    given = {name: tensor for name, tensor in inputs.items() if tensor is not None}
    graph.add("scaled_dot_product_attention", given, found.last.outputs)
