"""Finds the int8 islands of a graph: which nodes compute on int8 and which tensors carry Q/DQ."""

from __future__ import annotations

from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING

import onnx_ir as ir

from edgekit._qdq.placement import activation_inputs, has_int8_form, load_placement, place
from edgekit._qdq.pointwise import PointwiseChain, find_chains
from edgekit._qdq.product_bias import list_feeding, split_biases
from edgekit._qdq.quantize_all import list_all
from edgekit._qdq.steering import Decision, Steering
from edgekit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from edgekit._schemes import ConvOutput, GemmOutput


@dataclass(frozen=True)
class Islands:
    """The outcome: int8 nodes, quantized tensors (in graph order) and the sets that share a scale.

    groups: tensor -> the representative tensor of its scale-sharing set.
    chain_inputs: tensor -> the pointwise chain that alone reads it.
    clamps: tensor -> the Relu's or Clip's result that alone reads it (it needs no scale of its own).
    """

    nodes: frozenset[ir.Node]
    tensors: tuple[ir.Value, ...]
    groups: Mapping[ir.Value, ir.Value]
    chain_inputs: Mapping[ir.Value, PointwiseChain]
    clamps: Mapping[ir.Value, ir.Value]
    decisions: tuple[Decision, ...]


def find_islands(
    graph: ir.Graph,
    steering: Steering | None = None,
    *,
    conv_output: ConvOutput = "int8",
    gemm_output: GemmOutput = "float",
) -> Islands:
    """Grow islands from the multiply-accumulate nodes through everything that lies between them.

    conv_output `float`: what only a pointwise chain reads of a convolution goes on in float, as after Gemm.
    gemm_output `int8`: results of Gemm and MatMul are quantized, behind their bias, all but the last;
    `all`: the last ones too.
    UsageError where the user's only ops include one that the placement table lacks.
    """
    steering = steering or Steering()
    if steering.wants_all:
        return _take_all(graph)
    _refuse_unknown_ops(steering)
    sums, found = split_biases(find_chains(graph)) if gemm_output != "float" else ({}, find_chains(graph))
    chains = {chain.output: chain for chain in found}
    units = _list_units(graph, chains, steering)
    convolutions = {unit.nodes[0] for unit in units if unit.is_anchor and not unit.float_output}
    if gemm_output != "float":
        units = _quantize_products(units, sums, set() if gemm_output == "all" else _list_last(units, graph))
    if conv_output == "float":
        units = [
            replace(unit, float_output=True) if unit.nodes[0] in convolutions else unit for unit in units
        ]
    anchors = {unit for unit in units if unit.is_anchor}
    forward = _spread(units, anchors, seeds=set(graph.inputs))
    inside = _keep_read_by_int8(units, anchors, forward)
    kept = [unit for unit in units if unit in inside]
    clamps = _find_clamps(kept)
    tensors = _list_tensors(kept, clamps)
    return Islands(
        nodes=frozenset(node for unit in kept for node in unit.nodes),
        tensors=tensors,
        groups=_share_scales(kept, tensors),
        chain_inputs=_find_sole_readers(chains.values()),
        clamps=clamps,
        decisions=_explain(graph, kept, steering),
    )


def _take_all(graph: ir.Graph) -> Islands:
    nodes, tensors = list_all(graph)
    told = [Decision(node.name or "", node.op_type, "int8", "every op was asked for") for node in nodes]
    return Islands(frozenset(nodes), tensors, {value: value for value in tensors}, {}, {}, tuple(told))


def _refuse_unknown_ops(steering: Steering) -> None:
    for op in sorted(steering.only_ops - set(load_placement())):
        close = get_close_matches(op, load_placement(), n=1, cutoff=0.5)
        raise UsageError(
            f"--only names '{op}', an op that has no int8 form here",
            fix=f"did you mean '{close[0]}'?" if close else "name ops such as Conv, Gemm, MatMul",
        )


def list_candidates(graph: ir.Graph) -> tuple[str, ...]:
    """Names of all tensors that some choice of nodes could quantize: what calibration observes."""
    names: dict[str, None] = {}
    _, chains = split_biases(find_chains(graph))
    inner = {value for chain in chains for value in chain.inner}
    for node in graph:
        if place(node) is None:
            continue
        for value in (*activation_inputs(node), *node.outputs):
            if value not in inner and value.dtype == ir.DataType.FLOAT and value.name:
                names[value.name] = None
    return tuple(names)


@dataclass(frozen=True, eq=False)
class _Unit:
    """One node, or one pointwise chain taken as a node."""

    nodes: tuple[ir.Node, ...]
    inputs: tuple[ir.Value, ...]
    outputs: tuple[ir.Value, ...]
    kind: str
    chain: PointwiseChain | None = None
    float_output: bool = False

    @property
    def is_anchor(self) -> bool:
        return self.kind == "compute"

    @property
    def is_clamp(self) -> bool:
        return self.chain is not None and len(self.nodes) == 1 and self.nodes[0].op_type in ("Relu", "Clip")


def _list_units(
    graph: ir.Graph, chains: Mapping[ir.Value, PointwiseChain], steering: Steering
) -> list[_Unit]:
    """Every node that may be int8, as units in graph order."""
    chained = {node for chain in chains.values() for node in chain.nodes}
    units = []
    for node in graph:
        chain = chains.get(node.outputs[0])
        if chain is not None and all(steering.allows(member) for member in chain.nodes):
            units.append(_Unit(chain.nodes, (chain.input,), (chain.output,), "pointwise", chain))
        elif node not in chained and (unit := _as_unit(node, steering)) is not None:
            units.append(unit)
    return units


def _as_unit(node: ir.Node, steering: Steering) -> _Unit | None:
    row = place(node)
    if row is None or row.kind == "pointwise" or not steering.allows(node):
        return None
    inputs = activation_inputs(node)
    if not inputs or any(value.dtype != ir.DataType.FLOAT for value in (*inputs, *node.outputs)):
        return None
    if row.kind == "compute" and not has_int8_form(node):
        return None
    return _Unit((node,), inputs, tuple(node.outputs), row.kind, None, row.float_output)


def _quantize_products(
    units: Sequence[_Unit], sums: Mapping[ir.Node, ir.Node], in_float: Collection[ir.Node]
) -> list[_Unit]:
    """Products end in integers behind the Add of their bias, which is then no unit of its own."""
    products = {unit.nodes[0] for unit in units if unit.is_anchor}
    joined = {add for matmul, add in sums.items() if matmul in products}
    made = []
    for unit in units:
        if unit.nodes[0] in joined:
            continue
        add = sums.get(unit.nodes[0]) if unit.is_anchor else None
        nodes = unit.nodes if add is None else (*unit.nodes, add)
        outputs = tuple(nodes[-1].outputs)
        stays = unit.float_output and unit.nodes[0] in in_float
        made.append(replace(unit, nodes=nodes, outputs=outputs, float_output=stays))
    return made


def _list_last(units: Sequence[_Unit], graph: ir.Graph) -> set[ir.Node]:
    """Products whose result is the model's answer, where 8 bits cost most: no other product depends on it."""
    products = {unit.nodes[0] for unit in units if unit.is_anchor}
    feeding = list_feeding(graph, products)
    return {node for node in products if feeding.isdisjoint(node.outputs)}


def _spread(units: Sequence[_Unit], anchors: Collection[_Unit], seeds: set[ir.Value]) -> set[_Unit]:
    """Units whose every activation comes from an anchor, a graph input, or another such unit."""
    reached, known = set[_Unit](), set(seeds)
    for unit in units:  # graph order: producers come first
        if unit in anchors or all(value in known for value in unit.inputs):
            reached.add(unit)
            known.update(unit.outputs)
    return reached


def _keep_read_by_int8(
    units: Sequence[_Unit], anchors: Collection[_Unit], forward: Collection[_Unit]
) -> set[_Unit]:
    """Of the reached units those that some int8 unit reads; anchors always stay."""
    inside, wanted = set[_Unit](), set[ir.Value]()
    for unit in reversed(units):
        if unit in anchors or (unit in forward and any(value in wanted for value in unit.outputs)):
            inside.add(unit)
            wanted.update(unit.inputs)
    return inside


def _list_tensors(kept: Sequence[_Unit], clamps: Mapping[ir.Value, ir.Value]) -> tuple[ir.Value, ...]:
    """Every tensor that an int8 unit reads or writes, less those that go on in float by right.

    In float go: what only pointwise chains read of a Gemm, a MatMul or a graph input, and what a
    clamp (Relu, Clip) reads of its producer: the quantizer behind the clamp does that work.
    """
    by_right = {value for unit in kept if unit.float_output for value in unit.outputs}
    by_right |= {value for unit in kept for value in unit.inputs if value.is_graph_input()}
    read = {value for unit in kept if unit.chain is None for value in unit.inputs}
    tensors: dict[ir.Value, None] = {}
    for unit in kept:
        for value in (*unit.inputs, *unit.outputs):
            if value not in clamps and (value in read or value not in by_right):
                tensors[value] = None
    return tuple(tensors)


def _find_sole_readers(chains: Iterable[PointwiseChain]) -> dict[ir.Value, PointwiseChain]:
    return {
        chain.input: chain
        for chain in chains
        if not chain.input.is_graph_output()
        and all(reader in chain.nodes for reader, _ in chain.input.uses())
    }


def _find_clamps(kept: Sequence[_Unit]) -> dict[ir.Value, ir.Value]:
    """Producer's result -> clamped result, where one Relu or Clip is all that reads the producer.

    Behind an op that moves or groups values the clamp carries the scale instead: see `_share_scales`.
    """
    computed = {value for unit in kept if unit.kind in ("compute", "free") for value in unit.outputs}
    return {
        unit.inputs[0]: unit.outputs[0]
        for unit in kept
        if unit.is_clamp
        and unit.inputs[0] in computed
        and len(unit.inputs[0].uses()) == 1
        and not unit.inputs[0].is_graph_output()
    }


def _share_scales(kept: Iterable[_Unit], tensors: Collection[ir.Value]) -> dict[ir.Value, ir.Value]:
    """Union-find over the tensors that moving, picking and concatenating tie to one scale.

    A clamp behind such an op is tied too: what it reads lies on that scale's grid already, so another
    scale would add rounding and tell nothing more.
    """
    parent = {value: value for value in tensors}

    def find(value: ir.Value) -> ir.Value:
        while parent[value] is not value:
            parent[value] = parent[parent[value]]
            value = parent[value]
        return value

    moved = {value for unit in kept if unit.kind in ("carry", "group") for value in unit.outputs}
    for unit in kept:
        if unit.kind in ("carry", "group") or (unit.is_clamp and unit.inputs[0] in moved):
            first, *others = [v for v in (*unit.inputs, *unit.outputs) if v in parent]
            for value in others:
                parent[find(value)] = find(first)
    return {value: find(value) for value in tensors}


def _explain(graph: ir.Graph, kept: Iterable[_Unit], steering: Steering) -> tuple[Decision, ...]:
    inside = {node for unit in kept for node in unit.nodes}
    return tuple(Decision(node.name or "", node.op_type, *_reason(node, inside, steering)) for node in graph)


def _reason(node: ir.Node, inside: Collection[ir.Node], steering: Steering) -> tuple[str, str]:
    row = place(node)
    if node in inside:
        return "int8", row.reason if row else ""
    if row is None:
        return "float", "no int8 form in the placement table"
    if not steering.allows(node):
        return "float", steering.explain(node)
    if any(
        value.dtype not in (None, ir.DataType.FLOAT) for value in (*activation_inputs(node), *node.outputs)
    ):
        return "float", "its tensors are not float32"
    if row.kind == "compute":
        return (
            "float",
            "its weights or bias are computed, or its alpha, beta, transA or bias have no int8 form",
        )
    return "float", "does not lie between int8 nodes"
