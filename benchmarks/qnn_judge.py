"""How far an HTP graph lies from fp32 and from its Q/DQ graph: at outputs, at scores, and op by op.

A sure Softmax hides most of what its logits lost, and what it shows hangs on the one or two samples that it
is not sure of; so the tensor in front of the last Softmax, Sigmoid or Exp of an output is judged beside it.
Q/DQ graph and HTP are one draw each of the same rounding noise: the interval of their difference says what
it is worth, and so does how far the Q/DQ graph goes from itself when its input moves a very little.
"""

from __future__ import annotations

import tempfile
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.step_interval import step_interval, to_decibels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import onnx_ir as ir

    from edgekit._qdq.pairs import Grid
    from edgekit.targets.qnn.chips import Chip

    Arrays = Mapping[str, np.ndarray]
    Run = Callable[[Arrays], Arrays]

_SATURATES = frozenset({"Softmax", "LogSoftmax", "Sigmoid", "HardSigmoid", "Exp"})
_COMPUTES = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
_BY_OP = 2  # samples whose ops are compared one by one
_SEEN = "/seen"  # ends the name of the input that stands for a restored tensor
_MOVED = 0.005  # of a step: far below what an input's own rounding changes
_HALF = 0.501  # of a step: what rounding alone may move a code by, and a little for float32


@dataclass
class Noise:
    """Energies of one tensor, an entry a sample: fp32's, and of what Q/DQ and HTP are off."""

    signal: list[float] = field(default_factory=list)
    qdq: list[float] = field(default_factory=list)
    htp: list[float] = field(default_factory=list)
    between: list[float] = field(default_factory=list)
    itself: list[float] = field(default_factory=list)

    def add(self, exact: np.ndarray, qdq: np.ndarray, htp: np.ndarray, moved: np.ndarray) -> None:
        """One sample's tensors; `moved`: of the Q/DQ graph again, its input a very little beside."""
        exact, qdq, htp, moved = (array.astype(np.float64) for array in (exact, qdq, htp, moved))
        self.signal.append(float((exact**2).sum()))
        self.qdq.append(float(((qdq - exact) ** 2).sum()))
        self.htp.append(float(((htp - exact) ** 2).sum()))
        self.between.append(float(((htp - qdq) ** 2).sum()))
        self.itself.append(float(((moved - qdq) ** 2).sum()))

    def rates(self) -> dict[str, float]:
        """SQNR in dB; `step`: Q/DQ's less the HTP's, `low` to `high` (90 %) as the samples are drawn anew."""
        qdq, htp, total = np.array(self.qdq), np.array(self.htp), sum(self.signal)
        low, high = step_interval(self.qdq, self.htp)
        found = {
            "qdq": to_decibels(total, qdq.sum()),
            "htp": to_decibels(total, htp.sum()),
            "between": to_decibels(total, sum(self.between)),
            "itself": to_decibels(total, sum(self.itself)) if any(self.itself) else np.nan,
            "step": to_decibels(htp.sum(), qdq.sum()),
            "low": low,
            "high": high,
        }
        return {name: float(value) for name, value in found.items()}


def judge_htp(
    exact: ir.Model, qdq: ir.Model, *, chip: Chip, samples: Sequence[Arrays], most_kept: float
) -> dict[str, Any]:
    """`outputs` and `scores`: rates of the worst tensor; `ops`: what single operators are off by; `first`.

    most_kept: numbers that a tensor of the end may have which lies behind the context, 0 for no such end.
    `first`: the outputs on the first sample, to be compared with those of the context that is shipped.
    """
    outputs = {str(value.name): Place(str(value.name)) for value in qdq.graph.outputs}
    scores = find_scores(qdq, {str(value.name) for node in exact.graph for value in node.outputs})
    truth = _run_float(exact, [place.source for place in scores.values()])
    near, htp = _run_float(qdq, scores), _run_context(qdq, scores, chip, most_kept)
    noises = {inner: Noise() for inner in outputs | scores}
    first: Arrays = {}
    move = _mover(qdq)
    for feeds in samples:
        want, rounded, got, again = truth(feeds), near(feeds), htp(feeds), near(move(feeds))
        first = first or {name: got[name] for name in outputs}
        for inner, place in (outputs | scores).items():
            clipped = np.clip(want[place.source], place.low, place.high)
            noises[inner].add(clipped, rounded[inner], got[inner], again[inner])
    worst = {
        name: min((noises[inner].rates() for inner in tensors), key=lambda row: row["htp"])
        for name, tensors in (("outputs", outputs), ("scores", scores))
    }
    return {**worst, "ops": compare_ops(qdq, chip, samples[:_BY_OP]), "first": first}


def _mover(qdq: ir.Model) -> Callable[[Arrays], Arrays]:
    """Moves quantized inputs by up to `_MOVED` of a step of their grids, evenly spread."""
    from edgekit._qdq.pairs import grid_of

    steps: dict[str, float] = {}
    for value in qdq.graph.inputs:
        grids = [grid_of(reader) for reader, _ in value.uses() if reader.op_type == "QuantizeLinear"]
        steps |= {str(value.name): grid.step for grid in grids[:1] if grid is not None}
    rng = np.random.default_rng(0)

    def move(feeds: Arrays) -> Arrays:
        moved = {
            name: feeds[name] + (rng.uniform(-_MOVED, _MOVED, feeds[name].shape) * step).astype(np.float32)
            for name, step in steps.items()
        }
        return {**feeds, **moved}

    return move


@dataclass(frozen=True)
class Place:
    """A tensor's name in the fp32 model, and the ends of its grid: beyond them it was cut on purpose."""

    source: str
    low: Any = -np.inf
    high: Any = np.inf


def find_scores(qdq: ir.Model, known: set[str]) -> dict[str, Place]:
    """What enters the last Softmax, Sigmoid or Exp of each output -> its place in the fp32 model.

    The output itself where there is none, or where fp32 has no such tensor.
    """
    found = {}
    for output in qdq.graph.outputs:
        entry = _find_entry(output)
        source = "" if entry is None else _source(entry)
        if entry is None or source not in known:
            found[str(output.name)] = Place(str(output.name))
            continue
        found[str(entry.name)] = Place(source, *_find_ends(entry))
    return found


def _find_ends(value: ir.Value) -> tuple[Any, ...]:
    """Least and largest of a restored tensor, or of one that is scaled by a constant; () for another."""
    from edgekit._qdq.pairs import grid_of
    from edgekit.passes._rewire import constant_array

    maker, factors = value.producer(), np.ones(())
    if maker is not None and maker.op_type == "Mul" and maker.inputs[0] is not None:
        constant = constant_array(maker.inputs[1])
        if constant is None:
            return ()
        maker, factors = maker.inputs[0].producer(), constant
    grid = grid_of(maker) if maker is not None and maker.op_type == "DequantizeLinear" else None
    return () if grid is None else tuple(np.sort([grid.low * factors, grid.high * factors], axis=0))


def _find_entry(output: ir.Value) -> ir.Value | None:
    """Backwards from an output, breadth first, no farther than what computes its scores.

    Of a Softmax that is written out, what its largest is taken from: it gives the same whatever that is.
    """
    waiting = deque([output])
    while waiting:
        node = waiting.popleft().producer()
        if node is not None and node.op_type in _SATURATES:
            entry = node.inputs[0]
            shift = None if entry is None else entry.producer()
            return shift.inputs[0] if node.op_type == "Exp" and shift and shift.op_type == "Sub" else entry
        if node is not None and node.op_type not in _COMPUTES:
            waiting.extend(value for value in node.inputs if value is not None)
    return None


def _source(value: ir.Value) -> str:
    """The name in front of a pair, or of pairs."""
    node = value.producer()
    while node is not None and node.op_type in ("QuantizeLinear", "DequantizeLinear") and node.inputs[0]:
        value = node.inputs[0]
        node = value.producer()
    return str(value.name)


@dataclass(frozen=True)
class Pair:
    """One rounding: the restored tensor, its grid, the tensor that is rounded, the op that made that."""

    restored: str
    grid: Grid
    made: str
    op: str


def compare_ops(qdq: ir.Model, chip: Chip, samples: Iterable[Arrays]) -> dict[str, dict[str, Any]]:
    """Bits -> `share` of codes that rounding does not explain, the `most` steps one is off, and its `op`.

    Each op of the Q/DQ graph is fed with what the HTP itself had there, so that no error is carried on.
    """
    from onnxruntime.capi.onnxruntime_pybind11_state import EPFail

    cut = qdq.clone()
    pairs = list(_cut_pairs(cut))
    try:
        htp = _run_htp(qdq, [pair.restored for pair in pairs], chip)
    except EPFail:
        return {}  # the chip's memory does not hold all of them as outputs
    alone = _run_float(cut, [pair.made for pair in pairs])
    found: dict[str, dict[str, Any]] = {}
    off: dict[str, list[np.ndarray]] = {}
    for feeds in samples:
        got = htp(feeds)
        fed = {**feeds, **{f"{pair.restored}{_SEEN}": got[pair.restored] for pair in pairs}}
        own = {**fed, **alone(fed)}
        for pair in pairs:
            want = np.clip(own[pair.made].astype(np.float64), pair.grid.low, pair.grid.high)
            steps = np.abs(got[pair.restored] - want).reshape(-1) / pair.grid.step
            bits, most = str(8 * pair.grid.dtype.itemsize), float(steps.max())
            off.setdefault(bits, []).append(steps > _HALF)
            if most > found.get(bits, {"most": -1.0})["most"]:
                found[bits] = {"most": most, "op": pair.op}
    return {bits: {**row, "share": float(np.concatenate(off[bits]).mean())} for bits, row in found.items()}


def _cut_pairs(model: ir.Model) -> Iterable[Pair]:
    """Feed every restored tensor of `model` itself from outside, by its name and `_SEEN`."""
    import onnx_ir as ir

    from edgekit._qdq.pairs import grid_of

    for node in list(model.graph):
        grid = grid_of(node) if node.op_type == "QuantizeLinear" else None
        made = None if grid is None else node.inputs[0]
        if grid is None or made is None or made.const_value is not None:
            continue
        maker = made.producer()
        for reader, _ in list(node.outputs[0].uses()):
            restored = reader.outputs[0]
            outside = ir.val(f"{restored.name}{_SEEN}", dtype=ir.DataType.FLOAT, shape=made.shape)
            for user, index in list(restored.uses()):
                user.replace_input_with(index, outside)
            model.graph.inputs.append(outside)
            yield Pair(
                str(restored.name), grid, str(made.name), "another grid" if maker is None else maker.op_type
            )


def _run_float(model: ir.Model, taps: Iterable[str]) -> Run:
    """Node by node as written, with these tensors as outputs too."""
    from edgekit._verify import OrtSession

    return OrtSession(_show(model, taps), name="the graph in float").run


def _run_context(qdq: ir.Model, taps: Iterable[str], chip: Chip, most_kept: float) -> Run:
    """Compiled as edgekit does, the end of the graph behind the context, with these tensors as outputs."""
    from edgekit._qdq.find_tail import find_tail
    from edgekit._verify import with_taps
    from edgekit.passes.serialize_model import save_model
    from edgekit.targets.qnn.compile_contexts import MODEL, compile_context
    from edgekit.targets.qnn.leave_softmax import cut_tail, finish_context
    from edgekit.targets.qnn.session import HtpSession

    shown = with_taps(qdq, dict.fromkeys(taps))
    tail = find_tail(shown, most_kept)
    with tempfile.TemporaryDirectory() as work:
        (head,) = save_model(cut_tail(shown, tail), Path(work) / "head.onnx")
        made = compile_context(head, chip, out=Path(work), folder="context")
        finish_context(Path(work) / made.folder / MODEL, shown, tail)
        return HtpSession(Path(work) / made.folder).run


def _run_htp(qdq: ir.Model, taps: Iterable[str], chip: Chip) -> Run:
    """Compiled for the chip with these tensors as outputs too, and executed here."""
    from edgekit.targets.qnn.library import open_session

    provider = {"htp_arch": str(chip.htp_arch), "soc_model": str(chip.soc_model)}
    provider["htp_graph_finalization_optimization_mode"] = "3"
    session = open_session(_show(qdq, taps), provider, {})
    names = [value.name for value in session.get_outputs()]
    return lambda feeds: dict(zip(names, session.run(names, dict(feeds)), strict=True))


def _show(model: ir.Model, taps: Iterable[str]) -> bytes:
    from edgekit._verify import with_taps
    from edgekit.passes.serialize_model import serialize_model

    made = {value.name for node in model.graph for value in node.outputs}
    return serialize_model(with_taps(model, dict.fromkeys(tap for tap in taps if tap in made)))
