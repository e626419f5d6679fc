"""One ONNX node as a rule sees it: its operands as MIL tensors, its attributes, what it must make."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit._lowering import NodeCall, Refused, RuleTable
from edgekit.targets.coreml.graph import Graph, Tensor, constant, mil_dtype
from edgekit.targets.coreml.operators import check_operands, needs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import onnx_ir as ir

    from edgekit.targets.coreml.graph import Shape

    Rule = Callable[["Call"], Tensor | Sequence[Tensor]]

_INT32 = np.iinfo(np.int32)


RULES: RuleTable[Rule] = RuleTable()
rule = RULES.add


class Call(NodeCall[Tensor]):
    """A node with MIL tensors, and the graph that its operations go to.

    `level` is the deployment target's number (17 in iOS17).
    """

    runtime = "Core ML"

    def __init__(
        self,
        node: ir.Node,
        graph: Graph,
        *,
        inputs: Sequence[Tensor | None],
        outs: Sequence[Tensor],
        level: int,
    ) -> None:
        super().__init__(node, inputs, outs)
        self.graph = graph
        self.level = level

    def axis(self, default: int) -> int:
        """The attribute `axis`, counted from the front, for the first operand."""
        return self.integer("axis", default) % max(self.x.rank, 1)

    def require_level(self, first: int, what: str) -> None:
        """Refuse the node where the deployment target is older than `first`, the first with `what`."""
        if self.level < first:
            raise Refused(*needs(what, first, self.level))

    def add(self, code: str, size: Shape, /, *, makes: str | None = None, **inputs: Any) -> Tensor:
        """An operation with one output of this shape, of dtype `makes` (None: that of its first tensor)."""
        return self.add_several(code, [(size, makes)], **inputs)[0]

    def add_several(
        self, code: str, results: Sequence[tuple[Shape, str | None]], /, **inputs: Any
    ) -> list[Tensor]:
        """An operation with these outputs (shape, dtype; None: the dtype of its first tensor)."""
        given = {name: value for name, value in inputs.items() if value is not None}
        tensors = {name: value for name, value in given.items() if isinstance(value, Tensor)}
        first = next(iter(_tensors_of(given.values())))
        check_operands(code, self.level, {name: value.dtype for name, value in tensors.items()})
        for tensor in _tensors_of(given.values()):
            _refuse_wide(tensor)
        outs = [Tensor(tuple(size), dtype or first.dtype) for size, dtype in results]
        self.graph.add(code, given, outs)
        return outs

    def emit(self, code: str, /, **inputs: Any) -> Tensor:
        """The operation that makes the node's (first) result."""
        return self.add(code, self.out.shape, makes=self.out.dtype, **inputs)

    def reshape(self, x: Tensor, size: Sequence[int | str]) -> Tensor:
        """`reshape`, or `x` itself where it has that shape; one dim may be -1 where it is unknown."""
        size = tuple(size)
        if x.shape == size:
            return x
        if x.data is not None:
            return constant(x.data.reshape([int(dim) for dim in size]))
        sizes = [dim if isinstance(dim, int) else -1 for dim in size]
        self.require(sizes.count(-1) <= 1, f"a reshape to {list(size)} has several unknown dims", FIXED)
        return self.add("reshape", size, x=x, shape=sizes)

    def transpose(self, x: Tensor, order: Sequence[int]) -> Tensor:
        order = tuple(order)
        if order == tuple(range(len(order))):
            return x
        size = tuple(x.shape[axis] for axis in order)
        if x.packed is not None:
            return Tensor(size, x.dtype, packed=x.packed.transpose(order))
        if x.array is not None:
            return constant(np.ascontiguousarray(x.array.transpose(order)))
        return self.add("transpose", size, x=x, perm=list(order))

    def cast(self, x: Tensor, dtype: str) -> Tensor:
        """To a dtype of numpy's name."""
        kind = mil_dtype(dtype)
        if x.dtype == kind:
            return x
        if x.data is not None:
            return constant(np.asarray(x.data.astype(kind)))
        word = {"float32": "fp32", "float16": "fp16"}.get(kind, kind)
        return self.add("cast", x.shape, makes=kind, x=x, dtype=word)

    def slice(self, x: Tensor, axis: int, begin: int, end: int) -> Tensor:
        """x[..., begin:end, ...] along one axis."""
        size = x.sizes[axis]
        if (begin, end) == (0, size):
            return x
        starts = [begin if i == axis else 0 for i in range(x.rank)]
        ends = [end if i == axis else 0 for i in range(x.rank)]
        masks = [i != axis for i in range(x.rank)]
        shape = tuple(end - begin if i == axis else dim for i, dim in enumerate(x.shape))
        return self.add(
            "slice_by_index", shape, x=x, begin=starts, end=ends, begin_mask=masks, end_mask=masks
        )


FIXED = "give fixed sizes with --shape"


def _tensors_of(values: Any) -> list[Tensor]:
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, (list, tuple)):
            found += [item for item in value if isinstance(item, Tensor)]
    return found


def _refuse_wide(tensor: Tensor) -> None:
    """Core ML's integers end at 32 bits: a constant that would wrap is refused."""
    array = tensor.array
    if array is None or array.dtype.kind not in "iu" or not array.size:
        return
    if array.min() < _INT32.min or array.max() > _INT32.max:
        raise Refused(
            f"a constant reaches from {array.min()} to {array.max()}, beyond Core ML's 32-bit integers",
            "export with smaller integers",
        )
