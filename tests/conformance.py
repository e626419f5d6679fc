"""ONNX's own node cases on one target, as a convert would take them: passed, refused, or wrong."""

from __future__ import annotations

import sys
import tempfile
import warnings
from collections import Counter
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto, numpy_helper

from edgekit._plan import prepare_source
from edgekit._recipe import Recipe
from edgekit._values import Component, DimRange
from edgekit.errors import CannotRunHere, EdgekitError
from edgekit.passes.lower_opset import lower_component
from edgekit.registry import resolve_target
from edgekit.target import Job

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgekit._values import Artifact
    from edgekit.registry import ResolvedTarget

RTOL, ATOL = 1e-3, 1e-4
RECIPE = Recipe(Path("case.onnx"), precisions=("fp32",))
RUNS = 2  # a kernel that keeps state between runs shows in the second

Inputs = Literal["frozen", "open"]
MODES: tuple[Inputs, ...] = ("frozen", "open")
Status = Literal["pass", "refused", "unproven", "wrong"]


@dataclass(frozen=True)
class Case:
    """One node test. `frozen`: every input but the first float one is a constant; `open`: none is."""

    name: str
    inputs: Inputs
    model: onnx.ModelProto
    feeds: dict[str, np.ndarray]
    expected: dict[str, np.ndarray]

    @property
    def op(self) -> str:
        return str(self.model.graph.node[0].op_type)


@dataclass(frozen=True)
class Outcome:
    """refused: named before anything was written. unproven: built, and this host cannot run it.

    wrong: other numbers, or a file that does not run.
    """

    name: str
    inputs: Inputs
    op: str
    status: Status
    reason: str = ""


def eligible_cases(inputs: Inputs) -> Iterator[Case]:
    """Not expanded, one float32 output, at least one float32 input: sorted by name."""
    for test in _eligible():
        yield _frozen(test) if inputs == "frozen" else _open(test)


def _eligible() -> list[Any]:
    found = [test for test in node_cases() if _is_eligible(test)]
    return sorted(found, key=lambda test: str(test.name))


def other_cases() -> Iterator[Case]:
    """The rest of the node cases on plain tensors, open: several outputs, other dtypes."""
    for test in sorted(node_cases(), key=lambda test: str(test.name)):
        if _is_of_tensors(test) and not _is_eligible(test):
            yield _open(test)


@cache
def node_cases() -> list[Any]:
    """ONNX's own node cases with their data; all at once, for its collector filters by the first call."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # onnx computes log(0) while it makes its cases
        return [test for test in collect_testcases("") if "_expanded" not in test.name and test.data_sets]


def _is_eligible(test: Any) -> bool:
    kinds = _kinds(test.model.graph.input)
    is_one_float = _kinds(test.model.graph.output) == [TensorProto.FLOAT]
    return _is_of_tensors(test) and is_one_float and TensorProto.FLOAT in kinds


def _is_of_tensors(test: Any) -> bool:
    """No sequences, optionals or strings, and every input fed."""
    graph = test.model.graph
    kinds = _kinds([*graph.input, *graph.output])
    fed = len(test.data_sets[0][0]) == len(graph.input)
    return fed and all(kinds) and TensorProto.STRING not in kinds


def _kinds(values: Any) -> list[int]:
    return [value.type.tensor_type.elem_type for value in values]


def _open(test: Any) -> Case:
    graph, (inputs, outputs) = test.model.graph, test.data_sets[0]
    feeds, expected = (
        {value.name: _array(item) for value, item in zip(values, items, strict=True)}
        for values, items in ((graph.input, inputs), (graph.output, outputs))
    )
    return Case(str(test.name), "open", test.model, feeds, expected)


def _frozen(test: Any) -> Case:
    case = _open(test)
    model = onnx.ModelProto()
    model.CopyFrom(test.model)
    kept = model.graph.input[_kinds(model.graph.input).index(TensorProto.FLOAT)]
    weights = [
        numpy_helper.from_array(array, name) for name, array in case.feeds.items() if name != kept.name
    ]
    del model.graph.input[:]
    model.graph.input.append(kept)
    model.graph.initializer.extend(weights)
    return Case(case.name, "frozen", model, {kept.name: case.feeds[kept.name]}, case.expected)


def _array(item: Any) -> np.ndarray:
    return numpy_helper.to_array(item) if isinstance(item, TensorProto) else np.asarray(item)


def run_case(case: Case, target: ResolvedTarget) -> Outcome:
    """Through the same preparation, plan, check, build and open as a convert; run twice."""
    status, reason = _judge(case, target)
    return Outcome(case.name, case.inputs, case.op, status, reason)


class CaseRefusedError(Exception):
    """The target says no to a case before anything is written; the text says why."""


def build_case(case: Case, target: ResolvedTarget, folder: Path) -> Artifact:
    """The case's file, through the same preparation, plan, check and build as a convert."""
    source = Component("case", ir.from_proto(case.model), "0" * 64)
    job = Job(target.device, "fp32")
    try:
        prepared = prepare_source(source, [target], replace(RECIPE, shapes=_shapes(case)))
        plan = prepared.plans[target.device.name]
        component = lower_component(prepared.component, plan.max_opset)
        gaps = [gap for gap in target.target.check([component], job) if gap.severity == "error"]
        if gaps:
            raise CaseRefusedError(f"{gaps[0].op}: {gaps[0].rule}")
        return target.target.build([component], job, folder)[0]
    except EdgekitError as refused:
        raise CaseRefusedError(refused.problem) from refused


def _judge(case: Case, target: ResolvedTarget) -> tuple[Status, str]:
    with tempfile.TemporaryDirectory() as scratch:
        try:
            artifact = build_case(case, target, Path(scratch))
        except CaseRefusedError as refused:
            return "refused", str(refused)
        try:
            session = target.target.open(artifact, Path(scratch))
            runs = [session.run(case.feeds) for _ in range(RUNS)]
            results = [{name: value.copy() for name, value in run.items()} for run in runs]
        except CannotRunHere as error:
            return "unproven", error.problem
        except EdgekitError as error:  # the target said yes and the file does not run: a defect, no refusal
            return "wrong", error.problem
    return _compare(results, case.expected)


def _shapes(case: Case) -> dict[str, tuple[DimRange, ...]]:
    return {name: tuple(DimRange(size, size) for size in feed.shape) for name, feed in case.feeds.items()}


def _compare(results: list[dict[str, np.ndarray]], expected: dict[str, np.ndarray]) -> tuple[Status, str]:
    for result in results:
        if set(result) != set(expected):
            return "wrong", f"outputs {sorted(result)} instead of {sorted(expected)}"
        for name, wanted in expected.items():
            difference = _difference(result[name], wanted)
            if difference:
                return "wrong", difference
    return "pass", ""


def _difference(result: np.ndarray, expected: np.ndarray) -> str:
    """In words; empty where there is none."""
    if result.shape != expected.shape or result.dtype != expected.dtype:
        return f"{result.dtype}{list(result.shape)} instead of {expected.dtype}{list(expected.shape)}"
    if np.allclose(result, expected, rtol=RTOL, atol=ATOL, equal_nan=True):
        return ""
    with np.errstate(invalid="ignore"):
        apart = np.abs(result.astype(np.float64) - expected.astype(np.float64))
        return f"off by {float(np.nanmax(apart, initial=0.0)):.3g}"


def main() -> int:
    """`python -m tests.conformance TARGET`: write the target's page and the index; 1 where any is wrong."""
    from tests.conformance_pages import FOLDER, write_pages

    target = resolve_target(sys.argv[1])
    outcomes = [run_case(case, target) for mode in MODES for case in eligible_cases(mode)]
    others = [run_case(case, target) for case in other_cases()]
    write_pages(target.target.name, outcomes, others=others, folder=FOLDER)
    print(*sorted(Counter((item.inputs, item.status) for item in outcomes).items()), sep="\n")
    wrong = [outcome for outcome in (*outcomes, *others) if outcome.status == "wrong"]
    print(*wrong, sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
