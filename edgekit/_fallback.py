"""What nodes left on the CPU cost a model whose rest runs on an accelerator: parts, copies, conversions."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from edgekit._cost import peak_activation_bytes, values_read
from edgekit._node_work import count_elements, list_work
from edgekit._work import Work, sum_work
from edgekit._work_terms import NO_WORK, does_work, sum_terms
from edgekit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    import onnx_ir as ir

    from edgekit._node_work import NodeWork

_MACS = ("dense", "depthwise", "grouped", "attention")
_OPERATORS = ("layers", "elementwise", "layout", "reduce")
# `in_out` of a CPU's share are the numbers that it converts between its own form and the accelerator's.
_MOVED = ("moved_shallow", "moved_deep", "moved_elementwise", "moved_layout", "moved_reduce", "in_out")


@dataclass(frozen=True)
class Split:
    """One inference in two shares: the accelerator's, in `parts` launches, and the CPU's.

    accelerator: its `launch` counts parts, its `in_out` also the numbers that cross. cpu: terms as latency
    fits add them up. on_cpu: nodes there. crossings: tensors that cross a boundary, `crossed` numbers in
    all; one that several nodes read on the other side is copied once.
    """

    accelerator: Work
    cpu: Mapping[str, float]
    on_cpu: int
    parts: int
    crossings: int
    crossed: int


def split_work(model: ir.Model, on_cpu: Collection[ir.Node]) -> Split | None:
    """The two shares of a prepared float model; None where a dim it needs is unknown."""
    works, peak = list_work(model), peak_activation_bytes(model)
    if works is None or peak is None:
        return None
    nodes = dict(zip(model.graph, works, strict=True))
    left = frozenset(on_cpu)
    kept = [work for node, work in nodes.items() if node not in left]
    crossing = _crossings(model, left)
    crossed = sum(count_elements(value) or 0 for value in crossing)
    in_out = crossed + sum(count_elements(value) or 0 for value in _own_ends(model, left))
    parts = _count_parts(nodes, left)
    accelerator = sum_work(kept, peak, in_out, launches=parts)
    cpu = sum_terms((work for node, work in nodes.items() if node in left), crossed)
    return Split(accelerator, cpu, len(left), parts, len(crossing), crossed)


def select_nodes(model: ir.Model, words: Sequence[str]) -> list[ir.Node]:
    """Nodes that a name, a pattern of names or an operator means.

    UsageError for a word that meets none, and where nothing with work of its own is left.
    """
    found: dict[ir.Node, None] = {}
    for word in words:
        met = [node for node in model.graph if node.op_type == word or fnmatchcase(node.name or "", word)]
        if not met:
            raise _unmet(model, word)
        found |= dict.fromkeys(met)
    if found and all(node in found or node.op_type in NO_WORK for node in model.graph):
        raise UsageError(
            "on_cpu leaves nothing to the accelerator", fix="name less: this predicts accelerators' latency"
        )
    return list(found)


def _unmet(model: ir.Model, word: str) -> UsageError:
    operators = sorted({node.op_type for node in model.graph})
    near = get_close_matches(word, [*operators, *(node.name or "" for node in model.graph)], n=1)
    hint = f"did you mean '{near[0]}'? " if near else ""
    return UsageError(
        f"on_cpu '{word}' meets no node of the prepared model",
        fix=f"{hint}its operators: {', '.join(operators)}",
    )


def cpu_share(terms: Mapping[str, float]) -> tuple[float, float, float]:
    """MACs in 1e9, numbers moved and converted in 1e6, and operators of a CPU's share."""
    macs, moved, operators = (sum(terms[name] for name in names) for names in (_MACS, _MOVED, _OPERATORS))
    return macs, moved, operators


def _crossings(model: ir.Model, left: Collection[ir.Node]) -> list[ir.Value]:
    """Computed values that a node on the other unit reads, each once."""
    found: dict[ir.Value, None] = {}
    for node in model.graph:
        for value in values_read(node):
            producer = value.producer()
            if producer is not None and _computes(producer) and (producer in left) != (node in left):
                found[value] = None
    return list(found)


def _own_ends(model: ir.Model, left: Collection[ir.Node]) -> list[ir.Value]:
    """Inputs of the graph that the accelerator reads, and outputs that it makes."""
    read = {value for node in model.graph if node not in left for value in values_read(node)}
    inputs = [value for value in model.graph.inputs if not value.is_initializer() and value in read]
    outputs = [value for value in model.graph.outputs if value.producer() not in left]
    return [*inputs, *outputs]


def _count_parts(nodes: Mapping[ir.Node, NodeWork], left: Collection[ir.Node]) -> int:
    """Launches of the accelerator where each node runs as soon as it can: even depths are its own.

    A node's depth is how often the longest way to it changes units; nodes of one depth run in one part.
    """
    depths: dict[ir.Node, int] = {}
    for node in nodes:
        own = 1 if node in left else 0
        for value in values_read(node):
            producer = value.producer()
            if producer in depths and _computes(producer):
                own = max(own, depths[producer] + ((producer in left) != (node in left)))
        depths[node] = own
    return len({depths[node] for node, work in nodes.items() if node not in left and does_work(work)})


def _computes(node: ir.Node) -> bool:
    return node.op_type != "Constant"
