"""ONNX's own node cases against one target: pass, refused with a reason, or wrong; for every target."""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto, numpy_helper

from edgekit._values import Component, Device, DimRange
from edgekit.errors import EdgekitError
from edgekit.passes.expand_functions import expand_functions
from edgekit.passes.prepare_component import prepare_component
from edgekit.registry import load_targets
from edgekit.target import Job

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgekit.target import Target

RTOL, ATOL = 1e-3, 1e-4
DEVICE = Device("conformance", "Conformance", "any", "any", {})


@dataclass(frozen=True)
class Case:
    """One node test, every input but the first float one frozen to a constant."""

    name: str
    model: onnx.ModelProto
    feeds: dict[str, np.ndarray]
    expected: np.ndarray

    @property
    def op(self) -> str:
        return str(self.model.graph.node[0].op_type)


@dataclass(frozen=True)
class Outcome:
    """status: pass, refused, or wrong (other numbers, or a file that does not run)."""

    name: str
    op: str
    status: str
    reason: str = ""


def eligible_cases() -> Iterator[Case]:
    """Not expanded, one float32 output, at least one float32 input: sorted by name."""
    for test in sorted(_collected(), key=lambda item: str(item.name)):
        case = None if "_expanded" in test.name or not test.data_sets else _frozen(test)
        if case is not None:
            yield case


@cache
def _collected() -> list[Any]:
    from onnx.backend.test.case.node import collect_testcases

    return list(collect_testcases(""))


def _frozen(test: Any) -> Case | None:
    inputs, outputs = test.data_sets[0]
    graph = test.model.graph
    if len(graph.output) != 1 or graph.output[0].type.tensor_type.elem_type != TensorProto.FLOAT:
        return None
    kinds = [value.type.tensor_type.elem_type for value in graph.input]
    if TensorProto.FLOAT not in kinds or len(inputs) != len(kinds) or not all(kinds):
        return None
    arrays = [_array(item) for item in inputs]
    first = kinds.index(TensorProto.FLOAT)
    model = onnx.ModelProto()
    model.CopyFrom(test.model)
    kept = model.graph.input[first]
    others = [value.name for index, value in enumerate(graph.input) if index != first]
    weights = [numpy_helper.from_array(array, name) for array, name in _pairs(arrays, others, first)]
    del model.graph.input[:]
    model.graph.input.append(kept)
    model.graph.initializer.extend(weights)
    return Case(str(test.name), model, {kept.name: arrays[first]}, _array(outputs[0]))


def _array(item: Any) -> np.ndarray:
    return numpy_helper.to_array(item) if isinstance(item, TensorProto) else np.asarray(item)


def _pairs(arrays: list[np.ndarray], names: list[str], first: int) -> Iterator[tuple[np.ndarray, str]]:
    yield from zip([array for index, array in enumerate(arrays) if index != first], names, strict=True)


def run_case(case: Case, target: Target) -> Outcome:
    """Through the passes, the target's plan, check, build and open, as a convert does; run twice."""
    try:
        got = _results(case, target)
    except EdgekitError as refused:
        return Outcome(case.name, case.op, "refused", refused.problem)
    if isinstance(got, str):
        return Outcome(case.name, case.op, "refused", got)
    for result in got:
        if result.shape != case.expected.shape:
            reason = f"shape {result.shape} instead of {case.expected.shape}"
            return Outcome(case.name, case.op, "wrong", reason)
        if not np.allclose(result, case.expected, rtol=RTOL, atol=ATOL, equal_nan=True):
            with np.errstate(invalid="ignore"):
                worst = float(np.nanmax(np.abs(result - case.expected), initial=0.0))
            return Outcome(case.name, case.op, "wrong", f"off by {worst:.3g}")
    return Outcome(case.name, case.op, "pass")


def _results(case: Case, target: Target) -> str | list[np.ndarray]:
    """Both runs' output, or why the target refused the case."""
    job = Job(DEVICE, "fp32")
    component = Component("case", ir.from_proto(case.model), "0" * 64)
    shapes = {name: tuple(DimRange(size, size) for size in feed.shape) for name, feed in case.feeds.items()}
    prepared = prepare_component(component, shapes=shapes)
    expand_functions(prepared.model, target.plan([prepared], job).expand)
    gaps = [gap for gap in target.check([prepared], job) if gap.severity == "error"]
    if gaps:
        return f"{gaps[0].op}: {gaps[0].rule}"
    with tempfile.TemporaryDirectory() as scratch:
        artifact = target.build([prepared], job, Path(scratch))[0]
        try:
            session = target.open(artifact, Path(scratch))
            return [next(iter(session.run(case.feeds).values())).copy() for _ in range(2)]
        except EdgekitError as error:
            # The target said yes and the file does not run: that is a defect, not a refusal.
            return [np.empty((0,) * 9, np.float32) + len(str(error))]


def write_table(target: Target, folder: Path) -> list[Outcome]:
    """Run every eligible case; write `cases.txt` (their names) and `<target>.md` (what became of them)."""
    cases = list(eligible_cases())
    outcomes = [run_case(case, target) for case in cases]
    folder.mkdir(parents=True, exist_ok=True)
    names = "".join(f"{case.name}\n" for case in cases)
    (folder / "cases.txt").write_text(f"# onnx {onnx.__version__}\n{names}", encoding="utf-8")
    (folder / f"{target.name}.md").write_text(_table(target.name, outcomes), encoding="utf-8")
    return outcomes


def read_table(name: str, folder: Path) -> dict[str, str]:
    """Case -> reason, of the cases that the committed table calls refused."""
    lines = (folder / f"{name}.md").read_text(encoding="utf-8").splitlines()
    rows = [line.split(" | ") for line in lines if line.startswith("| `test_")]
    return {row[0].removeprefix("| ").strip("`"): row[2].removesuffix(" |") for row in rows}


def _table(name: str, outcomes: list[Outcome]) -> str:
    counts = Counter(outcome.status for outcome in outcomes)
    passed = counts["pass"] / len(outcomes)
    ops = sorted({outcome.op for outcome in outcomes})
    rows = [(op, Counter(item.status for item in outcomes if item.op == op)) for op in ops]
    lines = [
        f"# ONNX's node cases on target {name}",
        "",
        f"Made by `scripts/conformance {name}` with onnx {onnx.__version__}; do not edit.",
        "",
        "Eligible are the node cases of `onnx.backend.test.case.node` that are no expanded twin and have one "
        "float32 output and a float32 input; every input but the first float32 one is frozen to a constant. "
        f"A case passes where both of two runs are within rtol {RTOL:g}, atol {ATOL:g} of what ONNX expects. "
        "Refused means: named before anything was written, with the reason below.",
        "",
        f"{len(outcomes)} cases: {counts['pass']} pass ({100 * passed:.1f} %), {counts['refused']} refused, "
        f"{counts['wrong']} wrong.",
        "",
        "| op | pass | refused |",
        "|---|---|---|",
        *(f"| {op} | {count['pass']} | {count['refused']} |" for op, count in rows),
        "",
        "| refused case | op | reason |",
        "|---|---|---|",
        *(
            f"| `{item.name}` | {item.op} | {item.reason.replace('|', '/')} |"
            for item in outcomes
            if item.status == "refused"
        ),
        *(
            f"| **WRONG** `{item.name}` | {item.op} | {item.reason} |"
            for item in outcomes
            if item.status == "wrong"
        ),
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    """`python -m tests.conformance TARGET`: write the table; 1 where anything is wrong."""
    target = load_targets()[sys.argv[1]]
    outcomes = write_table(target, Path(__file__).parent.parent / "docs" / "conformance")
    wrong = [outcome for outcome in outcomes if outcome.status == "wrong"]
    print(Counter(outcome.status for outcome in outcomes), *wrong, sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
