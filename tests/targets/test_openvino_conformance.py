from __future__ import annotations

import onnx
import pytest

from edgekit.registry import resolve_target
from tests.conformance import MODES, Inputs, eligible_cases, other_cases, run_case
from tests.conformance_pages import FOLDER, read_cases, read_page

# Every third case in each run of the tests; `scripts/conformance openvino` runs them all.
STEP = 3


@pytest.mark.parametrize("inputs", MODES)
def test_node_cases_pass_or_are_refused_as_the_page_says(inputs: Inputs) -> None:
    version, _ = read_cases(FOLDER)
    if version != onnx.__version__:
        pytest.xfail(f"the page is of onnx {version}; run scripts/conformance openvino")
    page = read_page("openvino", FOLDER)
    target = resolve_target("openvino")
    for case in list(eligible_cases(inputs))[::STEP]:
        outcome = run_case(case, target)
        expected = page[case.name, inputs].status if (case.name, inputs) in page else "pass"
        assert (outcome.name, outcome.status) == (case.name, expected), outcome.reason


def test_the_other_node_cases_are_never_wrong() -> None:
    target = resolve_target("openvino")
    outcomes = [run_case(case, target) for case in list(other_cases())[::STEP]]
    assert [item for item in outcomes if item.status not in ("pass", "refused")] == []
    assert sum(item.status == "pass" for item in outcomes) > 0.2 * len(outcomes)


def test_the_page_has_a_reason_for_each_refusal_and_nothing_wrong() -> None:
    page = read_page("openvino", FOLDER)
    assert all(row.status == "refused" and len(row.reason) > 10 for row in page.values())
