"""Einsum -> Transpose, Reshape, MatMul (Mul where nothing is summed) and ReduceSum, for known shapes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edgekit.passes._rewire import Names, graph_of, static_shape, take_over

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import onnx_ir as ir

_EQUATION = re.compile(r"[A-Za-z.]*(,[A-Za-z.]*)*(->[A-Za-z.]*)?")
_ELLIPSIS = "0123456789"  # labels of the dims that `...` stands for, the last dim first


class _Operand(NamedTuple):
    """A value and one label for each of its dims."""

    value: ir.Value
    labels: str
    shape: tuple[int, ...]

    def size(self, label: str) -> int:
        return self.shape[self.labels.index(label)]


def expand_einsum(node: ir.Node, names: Names) -> bool:
    """Write Einsum out, operand by operand; False, with nothing changed, for unknown shapes and diagonals."""
    values = [value for value in node.inputs if value is not None]
    shapes = [static_shape(value) for value in values]
    parsed = _parse(node.attributes["equation"].as_string(), [len(shape or ()) for shape in shapes])
    if parsed is None or any(shape is None for shape in shapes):
        return False
    terms, result = parsed
    operands = [
        _Operand(value, labels, shape or ())
        for value, labels, shape in zip(values, terms, shapes, strict=True)
    ]
    writer = _Writer(node, names)
    made = operands[0]
    for index, other in enumerate(operands[1:], 1):
        made = writer.join(made, other, {*result, *"".join(terms[index + 1 :])})
    made = writer.ordered(writer.summed(made, result), result)
    if made.value in values:
        made = made._replace(value=names.insert_before(node, "Identity", [made.value]))
    take_over(made.value, node.outputs[0])
    return True


def _parse(equation: str, ranks: Sequence[int]) -> tuple[list[str], str] | None:
    """(labels of each operand, labels of the result) with `...` written out; None for what is not written."""
    text = equation.replace(" ", "")
    if not _EQUATION.fullmatch(text):
        return None
    left, arrow, right = text.partition("->")
    terms = left.split(",")
    if len(terms) != len(ranks):
        return None
    hidden = [rank - len(term.replace("...", "")) for term, rank in zip(terms, ranks, strict=True)]
    if any(count < 0 or count > len(_ELLIPSIS) for count in hidden):
        return None
    full = [term.replace("...", _dots(count)) for term, count in zip(terms, hidden, strict=True)]
    widest = _dots(
        max((count for term, count in zip(terms, hidden, strict=True) if "..." in term), default=0)
    )
    letters = [letter for letter in "".join(full) if letter.isalpha()]
    implied = widest + "".join(sorted(letter for letter in set(letters) if letters.count(letter) == 1))
    result = right.replace("...", widest) if arrow else implied
    fits = all(len(term) == rank and len(set(term)) == rank for term, rank in zip(full, ranks, strict=True))
    known = len(set(result)) == len(result) and set(result) <= set("".join(full))
    return (full, result) if fits and known and "." not in "".join(full) + result else None


def _dots(count: int) -> str:
    return _ELLIPSIS[:count][::-1]


class _Writer:
    def __init__(self, node: ir.Node, names: Names) -> None:
        self.node, self.names = node, names

    def join(self, a: _Operand, b: _Operand, wanted: Iterable[str]) -> _Operand:
        """Both operands as one, with the labels that are still wanted: shared, a's own, b's own."""
        kept = set(wanted)
        a, b = self.summed(a, {*kept, *b.labels}), self.summed(b, {*kept, *a.labels})
        shared = [label for label in a.labels if label in b.labels]
        batch = "".join(label for label in shared if label in kept)
        inner = "".join(label for label in shared if label not in kept)
        mine = "".join(label for label in a.labels if label not in shared)
        theirs = "".join(label for label in b.labels if label not in shared)
        a, b = self.ordered(a, batch + mine + inner), self.ordered(b, batch + inner + theirs)
        labels = batch + mine + theirs
        shape = tuple(
            max(operand.size(label) for operand in (a, b) if label in operand.labels) for label in labels
        )
        if not inner:
            left = self._reshape(a.value, (*a.shape, *(1 for _ in theirs)))
            right = self._reshape(
                b.value, (*b.shape[: len(batch)], *(1 for _ in mine), *b.shape[len(batch) :])
            )
            return _Operand(self._add("Mul", left, right), labels, shape)
        product = self._product(a, b, len(batch), len(inner))
        return _Operand(self._reshape(product, shape), labels, shape)

    def _product(self, a: _Operand, b: _Operand, batch: int, inner: int) -> ir.Value:
        """[..., rows, columns]; equal batch dims as one, others broadcast."""
        rows, columns = a.shape[batch : len(a.shape) - inner], b.shape[batch + inner :]
        summed = _count(b.shape[batch : batch + inner])
        heads = [operand.shape[:batch] for operand in (a, b)]
        if heads[0] == heads[1]:
            heads = [(_count(heads[0]),) if batch else ()] * 2
        left = self._reshape(a.value, (*heads[0], _count(rows), summed))
        right = self._reshape(b.value, (*heads[1], summed, _count(columns)))
        return self._add("MatMul", left, right)

    def summed(self, operand: _Operand, wanted: Iterable[str]) -> _Operand:
        """Summed over the dims that nobody wants."""
        kept = [i for i, label in enumerate(operand.labels) if label in set(wanted)]
        gone = [i for i in range(len(operand.labels)) if i not in kept]
        if not gone:
            return operand
        axes = self._constant(gone)
        value = self.names.insert_before(self.node, "ReduceSum", [operand.value, axes], keepdims=0)
        return _Operand(
            value, "".join(operand.labels[i] for i in kept), tuple(operand.shape[i] for i in kept)
        )

    def ordered(self, operand: _Operand, labels: str) -> _Operand:
        if operand.labels == labels:
            return operand
        order = [operand.labels.index(label) for label in labels]
        value = self.names.insert_before(self.node, "Transpose", [operand.value], perm=order)
        return _Operand(value, labels, tuple(operand.shape[i] for i in order))

    def _reshape(self, value: ir.Value, shape: Sequence[int]) -> ir.Value:
        return self._add("Reshape", value, self._constant(shape))

    def _constant(self, values: Sequence[int]) -> ir.Value:
        name = f"{self.node.outputs[0].name}/ints"
        return self.names.add_initializer(graph_of(self.node), name, np.array(values, np.int64))

    def _add(self, op: str, *inputs: ir.Value) -> ir.Value:
        return self.names.insert_before(self.node, op, inputs)


def _count(shape: Sequence[int]) -> int:
    return int(np.prod(shape, dtype=np.int64))
