"""What the data in front of a constant matrix look like over the samples: H, the mean of x x'.

Only H is kept of the samples. A graph's matrices are taken in groups that fit into a budget of memory, and
the samples run once for each group, so a large model needs little more than its largest H.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

from edgekit.calibration.open_session import RUN_FAILURES, open_session
from edgekit.errors import SamplesError
from edgekit.passes._rewire import constant_tensor, input_of
from edgekit.passes.remove_unused import remove_unused

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import onnx_ir as ir
    from numpy.typing import NDArray

    from edgekit.calibration.samples import Array, Sample

    Hessian = NDArray[np.float32]

BUDGET_BYTES = 256_000_000  # of one group's H: about 60 of 1024 columns, or one of 8000


class Products:
    """H of each constant matrix of one model over the same samples, found when first asked for."""

    def __init__(self, model: ir.Model, samples: Iterable[Sample], budget: int = BUDGET_BYTES) -> None:
        self._model = model
        self._samples = samples
        self._budget = budget
        self._data = _find_data(model)
        self._known: dict[str, Hessian] = {}

    def of(self, weight: str) -> Hessian | None:
        """H [K, K] of what stands in front of the matrix, None where nothing computed does.

        Raises SamplesError for a sample that does not run or gives numbers that are not finite. Matrices
        asked for in the graph's order cost the fewest runs.
        """
        data = self._data.get(weight)
        if not data:
            return None
        if not all(name in self._known for name, _ in data):
            self._known = self._observe(self._next_group(weight))
        return sum((self._known[name] for name, _ in data[1:]), start=self._known[data[0][0]])

    def _next_group(self, first: str) -> dict[str, int]:
        """Data tensors of this matrix and those behind it that fit into the budget, with their columns."""
        order = list(self._data)
        group, held = dict(self._data[first]), 0
        for weight in order[order.index(first) + 1 :]:
            fresh = {name: columns for name, columns in self._data[weight] if name not in group}
            held = 4 * sum(columns**2 for columns in {**group, **fresh}.values())
            if held > self._budget:
                break
            group |= fresh
        return group

    def _observe(self, group: dict[str, int]) -> dict[str, Hessian]:
        """One pass over the samples."""
        found = {name: np.zeros((columns, columns), np.float32) for name, columns in group.items()}
        rows: dict[str, int] = defaultdict(int)
        for sample, tensors in read_tensors(self._model, list(group), self._samples):
            for name, array in tensors.items():
                data = np.asarray(array, np.float32).reshape(-1, group[name])
                rows[name] += len(data)
                found[name] += data.T @ data
                if not np.isfinite(found[name][0]).all():
                    raise SamplesError(
                        f"tensor '{name}' is not finite on sample '{sample.name}'",
                        fix="leave the sample out, or keep the node in float with --float",
                    )
        return {name: total / np.float32(max(rows[name], 1)) for name, total in found.items()}


def read_tensors(
    model: ir.Model, names: Sequence[str], samples: Iterable[Sample]
) -> Iterator[tuple[Sample, dict[str, Array]]]:
    """Each sample with these tensors of the model: one pass. SamplesError for one that does not run."""
    inputs = {str(value.name) for value in model.graph.inputs}
    inner = [name for name in dict.fromkeys(names) if name not in inputs]
    session = open_session(ending_at(model, inner)) if inner else None
    for sample in samples:
        try:
            results = session.run(inner, sample.feeds) if session else []
        except RUN_FAILURES as error:
            raise SamplesError(
                f"the model cannot run sample '{sample.name}': {str(error).splitlines()[0]}",
                fix="check the sample's shapes against `edgekit inspect`",
            ) from error
        known = {name: sample.feeds[name] for name in names if name in inputs}
        yield sample, known | dict(zip(inner, results, strict=True))


def _find_data(model: ir.Model) -> dict[str, list[tuple[str, int]]]:
    """Constant matrix -> the (tensor, columns) that MatMul and Gemm multiply with it, in graph order."""
    found: dict[str, list[tuple[str, int]]] = {}
    for node in model.graph:
        if node.domain or node.op_type not in ("MatMul", "Gemm"):
            continue
        data, weight = node.inputs[0], input_of(node, 1)
        flags = {name: node.attributes.get_int(name, 0) for name in ("transA", "transB")}
        if data is None or weight is None or constant_tensor(weight) is None or flags["transA"]:
            continue
        if weight.shape is None or len(weight.shape) != 2 or constant_tensor(data) is not None:
            continue
        columns = weight.shape.numpy()[1 if flags["transB"] else 0]
        found.setdefault(str(weight.name), []).append((str(data.name), columns))
    return found


def ending_at(model: ir.Model, tensors: Sequence[str]) -> ir.Model:
    """A clone whose outputs are these tensors alone."""
    clone = model.clone()
    values = {value.name: value for node in clone.graph for value in node.outputs}
    clone.graph.outputs[:] = [values[name] for name in tensors]
    remove_unused(clone)
    return clone
