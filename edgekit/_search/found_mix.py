"""What a search for precision ended with: the graph, why it is so, and the decision table for the bundle."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekit._qdq import Mix, Widening
from edgekit._schemes import INT16X8, SCHEMES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgekit._qdq import QdqForm, QdqResult
    from edgekit._search.judge import Drop
    from edgekit._search.sensitivity import LayerCost
    from edgekit.target import Session

MIX = "mix.json"  # where a bundle has the decision table
_LEAST_TOLD = 5e-5
_WIDE = {**SCHEMES, INT16X8.name: INT16X8}
_NO_LATENCY = "unknown: no fit of a device has 16-bit activations"


@dataclass(frozen=True)
class Trial:
    """One mix that was built and judged."""

    words: str
    drop: Drop
    missed: tuple[str, ...] = ()

    def row(self) -> dict[str, Any]:
        """Of the decision table."""
        drop = self.drop
        told = {"drop": drop.seen, "changes": drop.changes, "foretold": drop.foretold}
        missed = {"missed": list(self.missed)} if self.missed else {}
        return {"tried": self.words, **told, "samples": drop.samples, **missed}


@dataclass(frozen=True)
class FoundMix:
    """The Q/DQ graph that was taken and its session in plain float.

    drop: what it loses by `judged_by`, and allowed: what it may. missed: limits of the artifact's gate that
    this graph misses already, on golden samples. layers: the measured
    sensitivities, () where the search ended before it needed them. no_wide: why 16-bit activations were not
    a choice, "" where they were.
    """

    result: QdqResult
    reference: Session
    form: QdqForm
    mix: Mix
    drop: Drop
    allowed: float
    judged_by: str
    missed: tuple[str, ...] = ()
    trials: tuple[Trial, ...] = ()
    layers: tuple[LayerCost, ...] = ()
    no_wide: str = ""

    @property
    def enough(self) -> bool:
        return self.drop.share <= self.allowed and not self.missed

    @property
    def note(self) -> str:
        """The figures in words."""
        lost = f"{100 * self.drop.seen:.2f} %" if self.drop.seen > 0 else "nothing"
        said = f"--max-drop {100 * self.allowed:g}%: INT8 loses {lost} of {self.judged_by} on the samples"
        if self.drop.unseen:
            said += f", or of the {self.drop.unseen} that AdaRound did not see where that is more"
        if self.drop.changes >= _LEAST_TOLD:
            changes, loss = (f"{100 * share:.2f} %" for share in (self.drop.changes, self.drop.foretold))
            said += f" (foretold for others: {changes} of the classes change, {loss} of right ones are lost)"
        if self.missed:
            said += f"; its Q/DQ graph misses {'; '.join(self.missed)}"
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
            "drop": self.drop.seen,
            "enough": self.enough,
            "changes": self.drop.changes,
            "foretold": self.drop.foretold,
            "judged_by": self.judged_by,
            "scheme": self.form.scheme.name,
            "float_nodes": sorted(self.mix.float_nodes),
            "sixteen_bits": self._sixteen_bits(),
            "clipped_tensors": sorted(self.mix.clipped),
            "rounding": self.mix.rounding,
            "trials": [trial.row() for trial in self.trials],
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


def read_mix(table: Mapping[str, Any]) -> Mix | None:
    """What later targets try, of one target's table: the mix whose layers were chosen, if it was enough."""
    if not table["layers"] or not table["enough"]:
        return None
    wide = table["sixteen_bits"]
    widening = Widening(_WIDE[wide["scheme"]], frozenset(wide["nodes"])) if wide.get("nodes") else None
    return Mix(
        frozenset(table["float_nodes"]), frozenset(table["clipped_tensors"]), widening, table["rounding"]
    )
