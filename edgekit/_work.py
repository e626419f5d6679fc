"""The work of one inference by kind: MACs dense, depthwise, grouped and computed x computed; bytes moved."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from edgekit._cost import peak_activation_bytes
from edgekit._node_work import count_in_out, count_looked_up, list_work
from edgekit._work_terms import sum_terms

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import onnx_ir as ir

    from edgekit._node_work import Kind, NodeWork

# Bytes of one float weight under a precision; w4: 4 bits and one fp16 scale for 32 of them; w4a16: as
# Qualcomm's language models are, with 16-bit integer activations.
WEIGHT_BYTES = {"fp32": 4.0, "fp16": 2.0, "int8": 1.0, "w8": 1.0, "w4": 0.5625, "w4a16": 0.5625}
# Bytes of one activation: integer weights alone leave activations in fp16.
ACTIVATION_BYTES = {"fp32": 4.0, "fp16": 2.0, "int8": 1.0, "w8": 2.0, "w4": 2.0, "w4a16": 2.0}
# The precision of the arithmetic.
COMPUTED_IN = {"fp32": "fp32", "fp16": "fp16", "int8": "int8", "w8": "fp16", "w4": "fp16", "w4a16": "fp16"}
# Terms of numbers that go through memory whatever a runtime fuses.
_UNFUSED = ("moved_shallow", "moved_deep", "moved_layout", "moved_reduce")
_KINDS: tuple[Kind, ...] = ("dense", "depthwise", "grouped", "attention")


@dataclass(frozen=True)
class Work:
    """One inference at the source's float sizes: counts of MACs, numbers and bytes.

    `attention`: MACs of products whose two factors are both computed. `weights` and `activations` count
    numbers (an activation once written); `layers` the nodes that have MACs, `layout` those that only move
    numbers. `read_weights`: numbers of weights that every run reads (not of tables
    that are only looked up).
    `peak_activations` is the most float32 bytes alive at once. `terms`: what latency fits add up.
    """

    dense: int
    depthwise: int
    grouped: int
    attention: int
    weights: int
    activations: int
    layers: int
    peak_activations: int
    read_weights: int = 0
    layout: int = 0
    terms: Mapping[str, float] = field(default_factory=dict)

    @property
    def macs(self) -> int:
        """All multiply-accumulates."""
        return self.dense + self.depthwise + self.grouped + self.attention

    def weight_bytes(self, precision: str) -> float:
        """Bytes of all weights under `precision` (a key of WEIGHT_BYTES)."""
        return self.weights * WEIGHT_BYTES[precision]

    def activation_bytes(self, precision: str) -> float:
        """Bytes of all activations, each written once and read once, under `precision`."""
        return 2 * self.activations * ACTIVATION_BYTES[precision]

    def traffic_bytes(self, precision: str) -> float:
        """Bytes that one run reads and writes where elementwise functions are fused into their producers."""
        return count_traffic(self.terms, self.read_weights, precision)

    def peak_bytes(self, precision: str) -> float:
        """Most activation bytes alive at once under `precision`."""
        return self.peak_activations * ACTIVATION_BYTES[precision] / ACTIVATION_BYTES["fp32"]


def count_traffic(terms: Mapping[str, float], read_weights: float, precision: str) -> float:
    """Bytes of so many weights, read once, and of what goes through memory whatever a runtime fuses."""
    moved = 2e6 * sum(terms.get(name, 0.0) for name in _UNFUSED)
    return moved * ACTIVATION_BYTES[precision] + read_weights * WEIGHT_BYTES[precision]


def count_work(model: ir.Model) -> Work | None:
    """The work of a prepared float model; None where a dim it needs is unknown."""
    nodes, peak = list_work(model), peak_activation_bytes(model)
    if nodes is None or peak is None:
        return None
    made = sum_work(nodes, peak, count_in_out(model))
    return replace(made, read_weights=made.read_weights - count_looked_up(model))


def sum_work(nodes: Sequence[NodeWork], peak: int, in_out: int, *, launches: int = 1) -> Work:
    """The work of these nodes, run in so many launches; `in_out`: numbers that go in and come out."""
    macs = {kind: sum(node.macs for node in nodes if node.kind == kind) for kind in _KINDS}
    weights = sum(node.weights for node in nodes)
    return Work(
        **macs,
        weights=weights,
        activations=sum(node.written for node in nodes),
        layers=sum(node.macs > 0 for node in nodes),
        peak_activations=peak,
        read_weights=weights,
        layout=sum(node.kind == "layout" for node in nodes),
        terms=sum_terms(nodes, in_out) | {"launch": float(launches)},
    )
