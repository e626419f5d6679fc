"""One ONNX node as a rule sees it: its operands as LiteRT tensors, its attributes, what it must make."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.targets.litert.graph import DTYPES, Graph, Refused, Tensor, constant, int32s
from edgekit.targets.litert.probe import Probe
from edgekit.targets.litert.write_tflite import operator_table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import onnx_ir as ir
    from numpy.typing import NDArray

    Rule = Callable[["Call"], Tensor | Sequence[Tensor]]


@dataclass(frozen=True)
class Registered:
    """A rule and the attributes it honours; any other attribute of a node is refused."""

    rule: Rule
    attributes: frozenset[str]


RULES: dict[str, Registered] = {}
MOST_TRANSPOSED = 6  # dims, in LiteRT's kernels


def rule(ops: str, attributes: str = "") -> Callable[[Rule], Rule]:
    """Register a rule for these ops (words), honouring these attributes (words)."""

    def register(function: Rule) -> Rule:
        for op in ops.split():
            RULES[op] = Registered(function, frozenset(attributes.split()))
        return function

    return register


def find_rule(node: ir.Node) -> Registered | None:
    """The rule of the node's op; ops of other domains than ONNX's own are registered with their domain."""
    own = node.domain in ("", "ai.onnx")
    return RULES.get(node.op_type if own else f"{node.domain}.{node.op_type}")


class Call:
    """Operands in `inputs` (None where left out); `outs` are blank tensors of the node's named results.

    `kept` are the places of those among all results that ONNX gives the op.
    """

    def __init__(
        self, node: ir.Node, graph: Graph, inputs: Sequence[Tensor | None], outs: Sequence[Tensor]
    ) -> None:
        self.node = node
        self.op = node.op_type
        self.opset = node.graph.opset_imports.get("", 17) if node.graph is not None else 17
        self.graph = graph
        self.inputs = tuple(inputs)
        self.outs = tuple(outs)
        self.kept = tuple(index for index, value in enumerate(node.outputs) if value.name)
        self._attributes: dict[str, Any] = {name: item.value for name, item in node.attributes.items()}

    @property
    def x(self) -> Tensor:
        """The first operand."""
        return self.operand(0)

    @property
    def x_computed(self) -> Tensor:
        """The only operand that is not constant."""
        return self.operand(self._computed())

    @property
    def computed(self) -> list[int]:
        """The operands that are not constant."""
        return [index for index, item in enumerate(self.inputs) if item is not None and item.data is None]

    def _computed(self) -> int:
        found = self.computed
        self.require(
            len(found) == 1,
            f"inputs {found} are computed, and only one may be",
            "export with constants there, or fix the input shapes with --shape so that they fold",
        )
        return found[0]

    def probe(self) -> Probe:
        """What the node does to its only computed operand."""
        return Probe(self.node, self.inputs, self._computed())

    @property
    def out(self) -> Tensor:
        return self.outs[0]

    def has(self, index: int) -> bool:
        return index < len(self.inputs) and self.inputs[index] is not None

    def operand(self, index: int) -> Tensor:
        found = self.inputs[index] if index < len(self.inputs) else None
        if found is None:
            raise Refused(f"input {index} is left out", "give the input before export")
        return found

    def optional(self, index: int) -> Tensor | None:
        return self.inputs[index] if index < len(self.inputs) else None

    def array(self, index: int) -> NDArray[Any]:
        """The values of a constant operand."""
        data = self.operand(index).data
        if data is None:
            raise Refused(
                f"input {index} is computed, and LiteRT wants a constant there",
                "export with constants there, or fix the input shapes with --shape so that it folds",
            )
        return data

    def optional_array(self, index: int) -> NDArray[Any] | None:
        return self.array(index) if self.has(index) else None

    def ints(self, name: str, default: Sequence[int]) -> list[int]:
        return [int(item) for item in self._attributes.get(name, default)]

    def integer(self, name: str, default: int) -> int:
        return int(self._attributes.get(name, default))

    def number(self, name: str, default: float) -> float:
        return float(np.float32(self._attributes.get(name, default)))

    def text(self, name: str, default: str) -> str:
        return str(self._attributes.get(name, default))

    def attribute(self, name: str) -> Any:
        """The attribute's value as ONNX holds it."""
        return self._attributes[name]

    def given(self, name: str) -> bool:
        return name in self._attributes

    def require(self, condition: object, rule: str, way_out: str = "") -> None:
        """Refuse the node unless the condition holds."""
        if not condition:
            raise Refused(rule, way_out)

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
        quantized = "int8_version" in row and checked.quant is not None  # plain int8 has no arithmetic there
        allowed = {*row["dtypes"], *(("int8",) if quantized else ())}
        if code != "SELECT_V2" and checked.dtype not in allowed:
            raise Refused(
                f"LiteRT's {code} takes no {checked.dtype}",
                "cast the tensor to float32 or int32 before export",
            )
        odd = next((item.dtype for item in inputs if item is not None and item.dtype not in DTYPES), None)
        if odd is not None:
            raise Refused(f"LiteRT's kernels do not compute on {odd}", "export in float32")
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
