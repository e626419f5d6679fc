"""The work of one inference by kind: MACs dense, depthwise, grouped and computed x computed; bytes moved."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from edgekit._cost import node_costs, peak_activation_bytes

if TYPE_CHECKING:
    import onnx_ir as ir

Kind = Literal["dense", "depthwise", "grouped", "attention"]
# Bytes of one float weight and of one float activation under a precision.
WEIGHT_BYTES = {"fp32": 4.0, "fp16": 2.0, "int8": 1.0}
_CONVOLUTIONS = frozenset({"Conv", "ConvTranspose", "ConvInteger", "FusedConv", "QLinearConv"})
_PRODUCTS = frozenset({"MatMul", "Gemm", "FusedMatMul", "Einsum"})


@dataclass(frozen=True)
class Work:
    """One inference at the source's float sizes: counts of MACs, numbers and bytes.

    `attention`: MACs of products whose two factors are both computed. `weights` and `activations` count
    numbers (an activation once written); `layers` the nodes that have MACs. `peak_activations` is the most
    float32 bytes alive at once.
    """

    dense: int
    depthwise: int
    grouped: int
    attention: int
    weights: int
    activations: int
    layers: int
    peak_activations: int

    @property
    def macs(self) -> int:
        """All multiply-accumulates."""
        return self.dense + self.depthwise + self.grouped + self.attention

    def weight_bytes(self, precision: str) -> float:
        """Bytes of all weights under `precision` (fp32, fp16, int8)."""
        return self.weights * WEIGHT_BYTES[precision]

    def activation_bytes(self, precision: str) -> float:
        """Bytes of all activations, each written once and read once, under `precision`."""
        return 2 * self.activations * WEIGHT_BYTES[precision]

    def peak_bytes(self, precision: str) -> float:
        """Most activation bytes alive at once under `precision`."""
        return self.peak_activations * WEIGHT_BYTES[precision] / WEIGHT_BYTES["fp32"]


def count_work(model: ir.Model) -> Work | None:
    """The work of a prepared float model; None where a dim it needs is unknown."""
    costs, peak = node_costs(model), peak_activation_bytes(model)
    macs: dict[Kind, int] = dict.fromkeys(("dense", "depthwise", "grouped", "attention"), 0)
    layers = 0
    for node, cost in zip(model.graph, costs, strict=True):
        if cost.macs is None:
            return None
        macs[_kind(node)] += cost.macs
        layers += cost.macs > 0
    written = [_elements(value) for node in model.graph for value in node.outputs if value.name]
    known = [number for number in written if number is not None]
    if peak is None or len(known) < len(written):
        return None
    return Work(
        **macs,
        weights=sum(cost.params for cost in costs),
        activations=sum(known),
        layers=layers,
        peak_activations=peak,
    )


def _kind(node: ir.Node) -> Kind:
    if node.op_type == "Attention":
        return "attention"
    if node.op_type in _PRODUCTS:
        factors = [value for value in node.inputs[:2] if value is not None]
        return "attention" if all(value.const_value is None for value in factors) else "dense"
    attribute = node.attributes.get("group") if node.op_type in _CONVOLUTIONS else None
    group = attribute.as_int() if attribute is not None else 1
    if group == 1:
        return "dense"
    data = node.inputs[0]
    channels = data.shape[1] if data is not None and data.shape is not None else None
    return "depthwise" if group == channels else "grouped"


def _elements(value: ir.Value) -> int | None:
    shape = value.shape
    return math.prod(shape.numpy()) if shape is not None and shape.is_static() else None
