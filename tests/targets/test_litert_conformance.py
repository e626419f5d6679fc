from __future__ import annotations

import warnings
from pathlib import Path

import onnx
import pytest

from edgekit.targets.litert import LiteRT
from tests.conformance import eligible_cases, read_table, run_case

FOLDER = Path(__file__).parent.parent.parent / "docs" / "conformance"
# Every case has its place in one of these parts; `scripts/conformance litert` runs them in one go.
PARTS = 8


def case_names() -> tuple[str, list[str]]:
    head, *names = (FOLDER / "cases.txt").read_text(encoding="utf-8").splitlines()
    return head.removeprefix("# onnx "), names


@pytest.mark.parametrize("part", range(PARTS))
def test_every_node_case_passes_or_is_refused_as_the_table_says(part: int) -> None:
    version, names = case_names()
    if version != onnx.__version__:
        pytest.xfail(f"the table is of onnx {version}; run scripts/conformance litert")
    refused = read_table("litert", FOLDER)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # onnx computes log(0) while it makes its cases
        cases = list(eligible_cases())
    assert [case.name for case in cases] == names
    target = LiteRT()
    for case in cases[part::PARTS]:
        outcome = run_case(case, target)
        expected = "refused" if case.name in refused else "pass"
        assert (outcome.name, outcome.status) == (case.name, expected), outcome.reason


def test_the_table_has_a_reason_for_each_refusal_and_nothing_wrong() -> None:
    refused = read_table("litert", FOLDER)
    assert all(len(reason) > 10 for reason in refused.values())
    assert "WRONG" not in (FOLDER / "litert.md").read_text(encoding="utf-8")
    assert len(refused) < 0.1 * len(case_names()[1])
