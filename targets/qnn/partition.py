"""What of a graph went to the HTP and what stayed on the CPU, and why: read from the compiler's own trace."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit._values import Placement

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgekit.targets.qnn.chips import Chip

# The provider leaves Q of an input and DQ of an output to the CPU on purpose: less to copy to the HTP.
_AT_BORDER = ("consume a graph input", "generate a graph output")
_WHY_AT_BORDER = "quantizers of inputs and outputs: the provider keeps them, for less is copied to the HTP"
_BY_CHOICE = "kept on the CPU by edgekit"
_WHY_KEPT = f"{_BY_CHOICE}: in float32 behind the context, where the HTP's float16 has three digits"
_SHOWN = 3


@dataclass(frozen=True)
class Fallback:
    """One node that stays on the CPU: the compiler's reason and the way out."""

    node: str
    op: str
    reason: str
    way_out: str

    def __str__(self) -> str:
        return f"{self.op} '{self.node}'"


@dataclass(frozen=True)
class Partition:
    """contexts: graphs on the HTP; on_htp, total: nodes (of the graph as ONNX Runtime hands it over).

    kept: nodes behind that graph that edgekit itself left to the CPU, in words.
    """

    contexts: int
    on_htp: int
    total: int
    at_border: int
    fallbacks: tuple[Fallback, ...]
    kept: tuple[str, ...] = ()

    @property
    def is_whole(self) -> bool:
        """One graph, and nothing beside it but quantizers of inputs and outputs and what edgekit keeps."""
        return self.contexts == 1 and not self.fallbacks

    def words(self) -> str:
        """One line for the manifest."""
        border = f"; quantizers of inputs and outputs on the CPU: {self.at_border}" if self.at_border else ""
        if self.kept:
            border += f"; {_BY_CHOICE}, in float32: {_first(self.kept)}"
        if self.is_whole:
            part = "all but the end" if self.kept else "whole"
            return f"{part} on the HTP: {self.on_htp} of {self.total} nodes in {self._parts}{border}"
        names = f" ({_first([str(one) for one in self.fallbacks])})" if self.fallbacks else ""
        return (
            f"{self.on_htp} of {self.total} nodes on the HTP in {self._parts}, "
            f"{len(self.fallbacks)} on the CPU{names}{border}"
        )

    @property
    def _parts(self) -> str:
        return "one context" if self.contexts == 1 else f"{self.contexts} contexts"

    def placements(self, chip: Chip, compiler: str) -> tuple[Placement, ...]:
        """How many nodes are on which unit, and what kept them there, as the compiler tells it."""
        why = f"in {self._parts}; placed by {compiler} on this host, not seen on a phone"
        rows = [Placement(f"HTP of {chip.name} (v{chip.htp_arch})", self.on_htp, why)]
        unit = f"CPU beside {chip.name}"
        if self.at_border:
            rows.append(Placement(unit, self.at_border, _WHY_AT_BORDER))
        if self.kept:
            rows.append(Placement(unit, len(self.kept), f"{_WHY_KEPT}: {_first(self.kept)}"))
        left: dict[tuple[str, str], list[str]] = {}
        for one in self.fallbacks:
            left.setdefault((one.reason, one.way_out), []).append(str(one))
        rows += [
            Placement(unit, len(nodes), f"{_first(nodes)}: {reason}; {way_out}", fallback=True)
            for (reason, way_out), nodes in left.items()
        ]
        return tuple(rows)

    def as_json(self) -> dict[str, Any]:
        rows = [vars(fallback) for fallback in self.fallbacks]
        return {
            "contexts": self.contexts,
            "nodes_on_htp": self.on_htp,
            "nodes": self.total,
            "quantizers_at_the_border": self.at_border,
            "on_cpu": rows,
            "kept_on_cpu_by_edgekit": list(self.kept),
        }


def read_partition(trace: Path) -> Partition:
    """The partition of a qnn_op_trace.json (schema_version 2)."""
    table = json.loads(trace.read_text(encoding="utf-8"))
    summary, left = table["summary"], table.get("unsupported_nodes", [])
    inside = [row for row in left if not any(words in row["reason"] for words in _AT_BORDER)]
    return Partition(
        contexts=int(summary["qnn_subgraphs"]),
        on_htp=int(summary["supported_nodes"]),
        total=int(summary["total_onnx_nodes"]),
        at_border=len(left) - len(inside),
        fallbacks=tuple(_fallback(row) for row in inside),
    )


def _first(nodes: Sequence[str]) -> str:
    """The first of the nodes, and how many more there are; partition.json has them all."""
    left = len(nodes) - _SHOWN
    return ", ".join(nodes[:_SHOWN]) + (f" and {left} more" if left > 0 else "")


def _fallback(row: Mapping[str, Any]) -> Fallback:
    reason = str(row["reason"]).rstrip(". ")
    return Fallback(str(row["node_name"]), str(row["op_type"]), reason, _find_way_out(row["op_type"], reason))


def _find_way_out(op: str, reason: str) -> str:
    """The first row of ways_out.toml whose words are in the compiler's reason, or that names the op."""
    for row in _ways_out():
        if (row.get("op") in (None, op)) and row["words"] in reason:
            return str(row["way_out"])
    return "express the node by ops that the QNN provider lists, or accept that it runs on the CPU"


@cache
def _ways_out() -> list[dict[str, str]]:
    text = (Path(__file__).parent / "ways_out.toml").read_text(encoding="utf-8")
    rows: list[dict[str, str]] = tomllib.loads(text)["row"]
    return rows
