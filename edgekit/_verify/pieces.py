"""A model too large to load at once, run piece by piece: only what a piece hands on stays in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx_ir as ir

from edgekit.calibration.open_session import RUN_FAILURES, open_once
from edgekit.errors import SamplesError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy as np

PIECE_BYTES = 1_000_000_000  # of weights in one piece, or one tensor where that is larger


@dataclass(frozen=True)
class _Piece:
    """Nodes [start, stop) of the graph, what they read from before, and what is read of them behind."""

    start: int
    stop: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class PiecewiseSession:
    """Runs a model in the order of its graph, the weights of one piece in memory at a time.

    The numbers are those of one session without graph optimizations; each run reads the weights anew.
    """

    def __init__(self, model: ir.Model, *, piece_bytes: int = PIECE_BYTES) -> None:
        self._model = model.clone()
        self._model.graph.sort()
        self._pieces = tuple(_cut(self._model.graph, piece_bytes))
        self.inputs = _names(model.graph.inputs)
        self.outputs = _names(model.graph.outputs)
        self.metadata: dict[str, str] = dict(model.metadata_props)

    def run(self, feeds: Mapping[str, np.ndarray], taps: Sequence[str] = ()) -> dict[str, np.ndarray]:
        """Outputs by name; a tap must be an output of the model. Raises SamplesError as a session does."""
        return self.run_all([feeds], taps)[0]

    def run_all(
        self, samples: Sequence[Mapping[str, np.ndarray]], taps: Sequence[str] = ()
    ) -> list[dict[str, np.ndarray]]:
        """`run` of every sample, for which the weights are read once."""
        absent = [name for name in self.inputs if any(name not in feeds for feeds in samples)]
        if absent:
            raise SamplesError(
                f"the sample has no input '{absent[0]}'", fix=f"give every input: {', '.join(self.inputs)}"
            )
        wanted = tuple(dict.fromkeys([*self.outputs, *taps]))
        known = [dict(feeds) for feeds in samples]
        for index, piece in enumerate(self._pieces):
            later = {name for other in self._pieces[index + 1 :] for name in other.inputs}.union(wanted)
            made = self._run_piece(piece, known)
            for arrays, new in zip(known, made, strict=True):
                arrays.update(new)
                for name in arrays.keys() - later:
                    del arrays[name]
        return [{name: arrays[name] for name in wanted} for arrays in known]

    def _run_piece(
        self, piece: _Piece, known: Sequence[Mapping[str, np.ndarray]]
    ) -> list[dict[str, np.ndarray]]:
        feeds = [{name: arrays[name] for name in piece.inputs} for arrays in known]
        try:
            session = open_once(_alone(self._model, piece, feeds[0]))
            made = [session.run(piece.outputs, one) for one in feeds]
        except RUN_FAILURES as error:
            raise SamplesError(
                f"the model does not run on the sample: {str(error).strip().splitlines()[0][:300]}",
                fix="give each input the dtype and shape that `edgekit inspect` prints",
            ) from error
        return [dict(zip(piece.outputs, arrays, strict=True)) for arrays in made]


def _cut(graph: ir.Graph, piece_bytes: int) -> Iterator[_Piece]:
    """Pieces in graph order, each with about `piece_bytes` of weights."""
    nodes = list(graph)
    reads = [list(_reads(node)) for node in nodes]
    starts, held = [0], 0
    for index, values in enumerate(reads):
        weights = [value.const_value for value in values if value.is_initializer()]
        size = sum(tensor.nbytes for tensor in weights if tensor is not None)
        if held and held + size > piece_bytes:
            starts.append(index)
            held = 0
        held += size
    given = {value for value in graph.inputs if not value.is_initializer()}
    for start, stop in zip(starts, [*starts[1:], len(nodes)], strict=True):
        inside = dict.fromkeys(value for values in reads[start:stop] for value in values)
        behind = {value for values in reads[stop:] for value in values} | set(graph.outputs)
        before = given | {value for node in nodes[:start] for value in node.outputs}
        outputs = [value for node in nodes[start:stop] for value in node.outputs if value in behind]
        yield _Piece(start, stop, _names(value for value in inside if value in before), _names(outputs))


def _reads(node: ir.Node) -> Iterator[ir.Value]:
    """What a node reads, its subgraphs included."""
    yield from (value for value in node.inputs if value is not None)
    for attribute in node.attributes.values():
        graphs = attribute.as_graphs() if attribute.type == ir.AttributeType.GRAPHS else ()
        for graph in (attribute.as_graph(),) if attribute.type == ir.AttributeType.GRAPH else graphs:
            for child in graph:
                yield from _reads(child)
            yield from graph.outputs


def _alone(model: ir.Model, piece: _Piece, feeds: Mapping[str, np.ndarray]) -> ir.Model:
    """A clone with the piece's nodes, and inputs in place of what they read from before."""
    clone = model.clone()
    graph = clone.graph
    nodes = list(graph)
    values = {value.name: value for node in nodes for value in node.outputs}
    graph.outputs[:] = [values[name] for name in piece.outputs]
    kept = set(nodes[piece.start : piece.stop])
    given = {str(value.name): value for value in graph.inputs if not value.is_initializer()}
    fresh = [given[name] if name in given else _stand_in(values[name], feeds[name]) for name in piece.inputs]
    graph.remove([node for node in nodes if node not in kept], safe=False)
    graph.inputs[:] = fresh
    used = {value.name for node in graph for value in _reads(node)}
    for name in [name for name in graph.initializers if name not in used]:
        del graph.initializers[name]
    return clone


def _stand_in(value: ir.Value, array: np.ndarray) -> ir.Value:
    """An input of the same name that every reader reads instead; other samples may have other sizes."""
    kind = ir.TensorType(ir.DataType.from_numpy(array.dtype))
    fresh = ir.Value(name=value.name, shape=ir.Shape([None] * array.ndim), type=kind)
    value.replace_all_uses_with(fresh)
    return fresh


def _names(values: Iterator[ir.Value] | Sequence[ir.Value]) -> tuple[str, ...]:
    return tuple(str(value.name) for value in values)
