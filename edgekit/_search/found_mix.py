"""What a search for precision ended with: the graph, why it is so, and the decision table for the bundle."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgekit._qdq import Mix, QdqForm, QdqResult
    from edgekit._search.sensitivity import LayerCost
    from edgekit.target import Session

_NO_LATENCY = "unknown: no fit of a device has 16-bit activations"


@dataclass(frozen=True)
class Trial:
    """One mix that was built and judged: what it lost on how many samples."""

    words: str
    drop: float
    samples: int


@dataclass(frozen=True)
class FoundMix:
    """The Q/DQ graph that was taken and its session in plain float.

    drop: what it loses by `judged_by` (a share), and allowed: what it may. layers: the measured
    sensitivities, () where the search ended before it needed them. no_wide: why 16-bit activations were not
    a choice, "" where they were.
    """

    result: QdqResult
    reference: Session
    form: QdqForm
    mix: Mix
    drop: float
    allowed: float
    judged_by: str
    trials: tuple[Trial, ...] = ()
    layers: tuple[LayerCost, ...] = ()
    no_wide: str = ""

    @property
    def enough(self) -> bool:
        return self.drop <= self.allowed

    @property
    def note(self) -> str:
        """Both figures in words."""
        lost = f"{100 * self.drop:.2f} %" if self.drop > 0 else "nothing"
        said = f"--max-drop {100 * self.allowed:g}%: INT8 loses {lost} of {self.judged_by} on the samples"
        best = "" if self.enough else f", the best of {len(self.trials)} that were tried,"
        counts = {"in float": len(self.mix.float_nodes), "on 16-bit activations": len(self.wide_nodes)}
        nodes = " and ".join(f"{count} nodes {form}" for form, count in counts.items() if count)
        why_not = f"; 16-bit activations were no choice: {self.no_wide}"
        told = f"{said}{best} with {nodes or 'no node in float'}" if nodes or best else said
        return told + (why_not if self.no_wide and self.mix.float_nodes else "")

    @property
    def wide_nodes(self) -> frozenset[str]:
        """Nodes on 16-bit activations, float ones not among them."""
        wide = self.mix.wide
        return frozenset() if wide is None else wide.nodes - self.mix.float_nodes

    def table(self) -> dict[str, Any]:
        """The decision table as JSON: every layer's sensitivity and form, and every trial."""
        return {
            "schema": "edgekit.mix/1",
            "allowed": self.allowed,
            "drop": self.drop,
            "judged_by": self.judged_by,
            "scheme": self.form.scheme.name,
            "float_nodes": sorted(self.mix.float_nodes),
            "sixteen_bits": self._sixteen_bits(),
            "clipped_tensors": sorted(self.mix.clipped),
            "trials": [
                {"tried": trial.words, "drop": trial.drop, "samples": trial.samples} for trial in self.trials
            ],
            "layers": [self._row(layer) for layer in self.layers],
        }

    def _row(self, layer: LayerCost) -> dict[str, Any]:
        return {
            "tensor": layer.tensor,
            "nodes": sorted(layer.nodes),
            "macs": layer.macs,
            "error": layer.error if math.isfinite(layer.error) else str(layer.error),
            "precision": self._precision(layer.nodes),
            "range": "clipped" if layer.tensor in self.mix.clipped else "whole",
        }

    def _precision(self, nodes: frozenset[str]) -> str:
        """What the integer nodes among them are, all forms where they differ; `float` without any."""
        told = {one.precision for one in self.result.decisions if one.node in nodes} - {"float"}
        return " and ".join(sorted(told)) or "float"

    def _sixteen_bits(self) -> dict[str, Any]:
        """The nodes on 16-bit activations and the scheme of those; or why they were no choice."""
        if self.no_wide:
            return {"no_choice": self.no_wide}
        if self.mix.wide is None:
            return {"nodes": []}
        told = {"scheme": self.mix.wide.scheme.name, "nodes": sorted(self.wide_nodes)}
        return told | {"latency": _NO_LATENCY}
