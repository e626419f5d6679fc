"""One ONNX node as a rule sees it: its operands as LiteRT tensors, its attributes, what it must make."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit._lowering import NodeCall, Refused, RuleTable
from edgekit.targets.litert.graph import DTYPES, ROUNDED, Graph, Tensor, constant, int32s
from edgekit.targets.litert.write_tflite import operator_table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import onnx_ir as ir

    from edgekit._lowering import MapProbe

    Rule = Callable[["Call"], Tensor | Sequence[Tensor]]


RULES: RuleTable[Rule] = RuleTable()
rule = RULES.add
MOST_TRANSPOSED = 6  # dims, in LiteRT's kernels


class Call(NodeCall[Tensor]):
    """A node with LiteRT tensors, and the graph that its operators go to."""

    runtime = "LiteRT"

    def __init__(
        self, node: ir.Node, graph: Graph, inputs: Sequence[Tensor | None], outs: Sequence[Tensor]
    ) -> None:
        super().__init__(node, inputs, outs)
        self.graph = graph

    @property
    def x_computed(self) -> Tensor:
        """The only operand that is not constant."""
        return self.operand(self.only_computed)

    def probe(self) -> MapProbe:
        """What the node does to its only computed operand."""
        return self.probe_of(self.x_computed.shape)

    def add(
        self,
        code: str,
        inputs: Sequence[Tensor | None],
        shape: Sequence[int],
        *,
        like: Tensor | None = None,
        **options: Any,
    ) -> Tensor:
        """An operator whose output has this shape, and dtype and scale of `like` (None: the first input)."""
        first = inputs[0]
        model = like or first
        assert model is not None
        assert first is not None
        checked = inputs[1] if code == "SELECT_V2" and inputs[1] is not None else first
        row = operator_table()[code]
        # Plain integers of these widths have no arithmetic there.
        rounded = {kind for kind in ROUNDED if f"{kind}_version" in row and checked.quant is not None}
        allowed = {*row["dtypes"], *rounded}
        if code != "SELECT_V2" and checked.dtype not in allowed:
            raise Refused(
                f"LiteRT's {code} takes no {checked.dtype}",
                "cast the tensor to float32 or int32 before export",
            )
        odd = next((item.dtype for item in inputs if item is not None and item.dtype not in DTYPES), None)
        if odd is not None:
            raise Refused(f"LiteRT's kernels do not compute on {odd}", "export in float32")
        if code in ("ADD", "SUB") and checked.dtype == "int16":
            options["potScaleInt16"] = False  # the schema's default asks for powers of two
        out = Tensor(tuple(int(size) for size in shape), model.dtype, None, model.quant)
        return self.graph.add(code, inputs, out, options)

    def emit(self, code: str, inputs: Sequence[Tensor | None], **options: Any) -> Tensor:
        """The operator that makes the node's (first) result."""
        return self.add(code, inputs, self.out.shape, like=self.out, **options)

    def reshape(self, x: Tensor, shape: Sequence[int]) -> Tensor:
        """RESHAPE, or `x` itself where it has that shape."""
        shape = tuple(int(size) for size in shape)
        if x.shape == shape:
            return x
        if x.data is not None:
            return constant(x.data.reshape(shape), x.quant)
        return self.add("RESHAPE", [x, int32s(shape)], shape, newShape=np.asarray(shape, np.int32))

    def transpose(self, x: Tensor, order: Sequence[int]) -> Tensor:
        order = tuple(order)
        if order == tuple(range(len(order))):
            return x
        if x.data is not None:
            return constant(np.ascontiguousarray(x.data.transpose(order)), x.quant)
        shape = [x.shape[axis] for axis in order]
        if len(order) <= MOST_TRANSPOSED:
            return self.add("TRANSPOSE", [x, int32s(order)], shape)
        sizes, moved = folded_transpose(x.shape, order)
        self.require(
            len(sizes) <= MOST_TRANSPOSED,
            f"LiteRT transposes at most {MOST_TRANSPOSED} dims, not {len(sizes)}",
        )
        return self.reshape(self.transpose(self.reshape(x, sizes), moved), shape)

    def cast(self, x: Tensor, dtype: str) -> Tensor:
        if x.dtype == dtype:
            return x
        if x.data is not None:
            return constant(np.asarray(x.data.astype(dtype)))
        out = Tensor(x.shape, dtype)
        return self.add("CAST", [x], x.shape, like=out, inDataType=x.dtype, outDataType=dtype)

    def scalar(self, value: float, like: Tensor) -> Tensor:
        """A rank-0 constant of the other tensor's dtype."""
        return constant(np.asarray(value, like.dtype))

    def slice(self, x: Tensor, begin: Sequence[int], size: Sequence[int]) -> Tensor:
        if tuple(size) == x.shape:
            return x
        if x.data is not None:
            cut = tuple(slice(at, at + count) for at, count in zip(begin, size, strict=True))
            return constant(np.ascontiguousarray(x.data[cut]), x.quant)
        return self.add("SLICE", [x, int32s(begin), int32s(size)], size)


def folded_transpose(shape: Sequence[int], order: Sequence[int]) -> tuple[list[int], list[int]]:
    """The same transpose with fewer axes: those of 1 go, and neighbours that stay neighbours are one."""
    real = [axis for axis in order if shape[axis] != 1]
    runs: list[list[int]] = []
    for axis in real:
        before = [i for i in range(axis) if shape[i] != 1]
        if runs and before and runs[-1][-1] == before[-1]:
            runs[-1].append(axis)
        else:
            runs.append([axis])
    ordered = sorted(runs)
    return [int(np.prod([shape[axis] for axis in run])) for run in ordered], [
        ordered.index(run) for run in runs
    ]
