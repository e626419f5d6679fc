"""The work of one inference by kind: MACs dense, depthwise, grouped and computed x computed; bytes moved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekit._cost import peak_activation_bytes
from edgekit._node_work import list_work

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgekit._node_work import Kind

# Bytes of one float weight and of one float activation under a precision.
WEIGHT_BYTES = {"fp32": 4.0, "fp16": 2.0, "int8": 1.0}


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
    nodes, peak = list_work(model), peak_activation_bytes(model)
    if nodes is None or peak is None:
        return None
    kinds: tuple[Kind, ...] = ("dense", "depthwise", "grouped", "attention")
    return Work(
        **{kind: sum(node.macs for node in nodes if node.kind == kind) for kind in kinds},
        weights=sum(node.weights for node in nodes),
        activations=sum(node.written for node in nodes),
        layers=sum(node.macs > 0 for node in nodes),
        peak_activations=peak,
    )
