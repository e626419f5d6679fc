from __future__ import annotations

import onnx
import pytest

from edgekit.registry import resolve_target
from tests.conformance import MODES, Inputs, eligible_cases, other_cases, run_case
from tests.conformance_pages import FOLDER, read_cases, read_page

# `scripts/conformance coreml` runs every case; here each run takes the cases of one part, by turns.
PARTS = 8
PART = 1


@pytest.mark.parametrize("inputs", MODES)
def test_a_part_of_the_node_cases_passes_or_is_refused_as_the_page_says(inputs: Inputs) -> None:
    version, names = read_cases(FOLDER)
    if version != onnx.__version__:
        pytest.xfail(f"the page is of onnx {version}; run scripts/conformance coreml")
    page = read_page("coreml", FOLDER)
    cases = list(eligible_cases(inputs))
    assert [case.name for case in cases] == list(names)
    target = resolve_target("coreml")
    for case in cases[PART::PARTS]:
        outcome = run_case(case, target)
        expected = page[case.name, inputs].status if (case.name, inputs) in page else "pass"
        assert (outcome.name, outcome.status) == (case.name, expected), outcome.reason


def test_of_the_other_node_cases_none_is_wrong() -> None:
    target = resolve_target("coreml")
    outcomes = [run_case(case, target) for case in list(other_cases())[PART::PARTS]]
    assert [item for item in outcomes if item.status not in ("pass", "refused")] == []
    assert sum(item.status == "pass" for item in outcomes) > 0.2 * len(outcomes)


def test_the_page_has_a_reason_for_each_refusal_and_nothing_wrong() -> None:
    page = read_page("coreml", FOLDER)
    assert all(row.status == "refused" and len(row.reason) > 10 for row in page.values())


@pytest.mark.parametrize(("inputs", "share"), [("frozen", 0.85), ("open", 0.5)])
def test_the_issues_share_of_cases_passes(inputs: Inputs, share: float) -> None:
    _, names = read_cases(FOLDER)
    refused = sum(mode == inputs for _, mode in read_page("coreml", FOLDER))
    assert 1 - refused / len(names) >= share
