"""One ONNX node as a target's rule sees it: operands, attributes, refusals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import numpy as np

from edgekit._lowering.probe_map import MapProbe
from edgekit._lowering.refused import Refused

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx_ir as ir
    from numpy.typing import NDArray

_DEFAULT_OPSET = 17


class Operand(Protocol):
    """A target's tensor, as far as the shared part reads it: `data` is None for what is computed."""

    @property
    def data(self) -> NDArray[Any] | None: ...
    @property
    def rank(self) -> int: ...


T = TypeVar("T", bound=Operand)


class NodeCall(Generic[T]):
    """Operands in `inputs` (None where left out); `outs` are blank tensors of the node's named results.

    `kept` are the places of those among all results that ONNX gives the op.
    """

    #: The target's name in a refusal.
    runtime = ""

    def __init__(self, node: ir.Node, inputs: Sequence[T | None], outs: Sequence[T]) -> None:
        self.node = node
        self.op = node.op_type
        self.opset = (
            _DEFAULT_OPSET if node.graph is None else node.graph.opset_imports.get("", _DEFAULT_OPSET)
        )
        self.inputs = tuple(inputs)
        self.outs = tuple(outs)
        self.kept = tuple(index for index, value in enumerate(node.outputs) if value.name)
        self._attributes: dict[str, Any] = {name: item.value for name, item in node.attributes.items()}

    @property
    def x(self) -> T:
        """The first operand."""
        return self.operand(0)

    @property
    def out(self) -> T:
        return self.outs[0]

    @property
    def computed(self) -> list[int]:
        """The operands that are not constant."""
        return [index for index, item in enumerate(self.inputs) if item is not None and item.data is None]

    @property
    def only_computed(self) -> int:
        """The one operand that is not constant. Raises Refused where there are several, or none."""
        found = self.computed
        self.require(
            len(found) == 1,
            f"inputs {found} are computed, and only one may be",
            "export with constants there, or fix the input shapes with --shape so that they fold",
        )
        return found[0]

    def probe_of(self, shape: tuple[int, ...]) -> MapProbe:
        """What the node does to its only computed operand, which is of this shape."""
        constants = [None if item is None else item.data for item in self.inputs]
        return MapProbe(self.node, constants, self.only_computed, shape)

    def has(self, index: int) -> bool:
        return index < len(self.inputs) and self.inputs[index] is not None

    def operand(self, index: int) -> T:
        found = self.optional(index)
        if found is None:
            raise Refused(f"input {index} is left out", "give the input before export")
        return found

    def optional(self, index: int) -> T | None:
        return self.inputs[index] if index < len(self.inputs) else None

    def array(self, index: int) -> NDArray[Any]:
        """The values of a constant operand."""
        data = self.operand(index).data
        if data is None:
            raise Refused(
                f"input {index} is computed, and {self.runtime} wants a constant there",
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

    def reduced_axes(self) -> list[int]:
        """Axes of a reduction, from the front: input 1 or the attribute `axes`.

        None given means all, or none with noop_with_empty_axes.
        """
        given = self.ints("axes", [])
        if self.has(1):
            given = [int(axis) for axis in self.array(1).reshape(-1)]
        if not given:
            return [] if self.integer("noop_with_empty_axes", 0) else list(range(self.x.rank))
        return sorted(axis % self.x.rank for axis in given)

    def require(self, condition: object, rule: str, way_out: str = "") -> None:
        """Refuse the node unless the condition holds."""
        if not condition:
            raise Refused(rule, way_out)
