"""Which tensors lose most: the same names tapped in the fp32 and the Q/DQ model, lowest SQNR first."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgekit._verify.metrics import OutputComparison
from edgekit._verify.sessions import float_session, reference_session
from edgekit.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy as np
    import onnx_ir as ir

    from edgekit._results import Parity


@dataclass(frozen=True)
class WorstTensor:
    """One tensor, the node that makes it in the Q/DQ model, and its SQNR against fp32 in dB."""

    tensor: str
    node: str
    op: str
    sqnr_db: float

    def __str__(self) -> str:
        return f"{self.op} '{self.node}' -> {self.tensor}"


def worst_tensors(
    float_model: ir.Model,
    qdq_model: ir.Model,
    feeds: Iterable[Mapping[str, np.ndarray]],
    *,
    tensors: Sequence[str],
    most: int = 5,
) -> tuple[WorstTensor, ...]:
    """The `most` tensors of `tensors` with the lowest SQNR over the feeds; the models stay unchanged.

    ModelError for a name that either model lacks. Inputs, weights and integer tensors are left out.
    """
    made = _tappable(float_model, qdq_model, tensors)
    plain, quantized = (
        float_session(with_taps(float_model, made)),
        reference_session(with_taps(qdq_model, made)),
    )
    comparisons = {name: OutputComparison(name) for name in made}
    for sample in feeds:
        expected, actual = plain.run(sample), quantized.run(sample)
        for name, comparison in comparisons.items():
            if expected[name].dtype.kind == "f":
                comparison.add(actual[name], expected[name])
    ranked = [
        WorstTensor(name, made[name].name or name, made[name].op_type, comparisons[name].result().sqnr_db)
        for name in made
    ]
    ranked = [worst for worst in ranked if not math.isnan(worst.sqnr_db)]
    return tuple(sorted(ranked, key=lambda worst: worst.sqnr_db)[:most])


def with_worst(parity: Parity, worst: Sequence[WorstTensor]) -> Parity:
    """The parity with its worst tensors, each by the node that makes it (what `--float` takes)."""
    return replace(parity, worst_tensors=tuple((tensor.node, tensor.sqnr_db) for tensor in worst))


def _tappable(float_model: ir.Model, qdq_model: ir.Model, tensors: Sequence[str]) -> dict[str, ir.Node]:
    """Tensor name -> the node that makes it in the Q/DQ model, for tensors that a node makes in both."""
    plain, quantized = _producers(float_model), _producers(qdq_model)
    fixed = {value.name for model in (float_model, qdq_model) for value in model.graph.inputs}
    fixed |= set(float_model.graph.initializers) | set(qdq_model.graph.initializers)
    absent = [name for name in tensors if name not in fixed and not (name in plain and name in quantized)]
    if absent:
        raise ModelError(
            f"tensor '{absent[0]}' is not in both the fp32 and the Q/DQ model",
            fix="name tensors of the prepared graph, before Q/DQ insertion",
        )
    return {name: quantized[name] for name in tensors if name not in fixed}


def _producers(model: ir.Model) -> dict[str, ir.Node]:
    return {value.name: node for node in model.graph for value in node.outputs if value.name}


def with_taps(model: ir.Model, names: Iterable[str]) -> ir.Model:
    """A clone that gives these tensors as outputs too."""
    tapped = model.clone()
    values = {value.name: value for node in tapped.graph for value in node.outputs}
    present = {value.name for value in tapped.graph.outputs}
    tapped.graph.outputs.extend(values[name] for name in names if name not in present)
    return tapped
