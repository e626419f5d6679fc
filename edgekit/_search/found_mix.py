"""What a search for precision ended with: the graph, why it is so, and the decision table for the bundle."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgekit._qdq import Mix, QdqForm, QdqResult
    from edgekit._search.sensitivity import LayerCost
    from edgekit.target import Session


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
    sensitivities, () where the search ended before it needed them.
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

    @property
    def enough(self) -> bool:
        return self.drop <= self.allowed

    @property
    def note(self) -> str:
        """Both figures in words."""
        lost = f"{100 * self.drop:.2f} %" if self.drop > 0 else "nothing"
        said = f"--max-drop {100 * self.allowed:g}%: INT8 loses {lost} of {self.judged_by} on the samples"
        nodes = len(self.mix.float_nodes)
        if not self.enough:
            return f"{said}, the best of {len(self.trials)} that were tried, with {nodes} nodes in float"
        return f"{said} with {nodes} nodes in float" if nodes else said

    def table(self) -> dict[str, Any]:
        """The decision table as JSON: every layer's sensitivity and form, and every trial."""
        return {
            "schema": "edgekit.mix/1",
            "allowed": self.allowed,
            "drop": self.drop,
            "judged_by": self.judged_by,
            "scheme": self.form.scheme.name,
            "float_nodes": sorted(self.mix.float_nodes),
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
            "precision": "float" if layer.nodes <= self.mix.float_nodes else "int8",
            "range": "clipped" if layer.tensor in self.mix.clipped else "whole",
        }
