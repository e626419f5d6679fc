from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest

from edgekit.registry import resolve_target
from edgekit.targets.litert.session import LiteRTSession
from tests.conformance import MODES, Inputs, eligible_cases, other_cases, run_case
from tests.conformance_pages import FOLDER, read_cases, read_page
from tests.targets.litert_models import build, prepared

if TYPE_CHECKING:
    from pathlib import Path

    from edgekit.targets.litert.session import Kernels

# Every case has its place in one of these parts; `scripts/conformance litert` runs them in one go.
PARTS = 4


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("inputs", MODES)
def test_every_node_case_passes_or_is_refused_as_the_page_says(inputs: Inputs, part: int) -> None:
    version, names = read_cases(FOLDER)
    if version != onnx.__version__:
        pytest.xfail(f"the page is of onnx {version}; run scripts/conformance litert")
    page = read_page("litert", FOLDER)
    cases = list(eligible_cases(inputs))
    assert [case.name for case in cases] == list(names)
    target = resolve_target("litert")
    for case in cases[part::PARTS]:
        outcome = run_case(case, target)
        expected = page[case.name, inputs].status if (case.name, inputs) in page else "pass"
        assert (outcome.name, outcome.status) == (case.name, expected), outcome.reason


@pytest.mark.parametrize("part", range(PARTS))
def test_the_other_node_cases_are_never_wrong(part: int) -> None:
    target = resolve_target("litert")
    outcomes = [run_case(case, target) for case in list(other_cases())[part::PARTS]]
    assert [item for item in outcomes if item.status not in ("pass", "refused")] == []
    assert sum(item.status == "pass" for item in outcomes) > 0.2 * len(outcomes)


@pytest.mark.parametrize("kernels", ["xnnpack", "builtin", "reference"])
def test_masked_rows_are_zero_on_every_kind_of_kernels(kernels: Kernels, tmp_path: Path) -> None:
    """LiteRT's own kernels hold sums within the finite numbers, XNNPACK's do not."""
    found = [case for case in eligible_cases("open") if case.op == "Attention" and "mask" in case.name]
    assert len(found) > 10
    for case in found:
        artifact = build(prepared(case.model), tmp_path)
        (result,) = LiteRTSession(tmp_path / artifact.main, kernels).run(case.feeds).values()
        (expected,) = case.expected.values()
        np.testing.assert_allclose(result, expected, rtol=1e-3, atol=1e-4, err_msg=case.name)


def test_the_page_has_a_reason_for_each_refusal_and_nothing_wrong() -> None:
    page = read_page("litert", FOLDER)
    assert all(row.status == "refused" and len(row.reason) > 10 for row in page.values())


@pytest.mark.parametrize(("inputs", "share"), [("frozen", 0.95), ("open", 0.75)])
def test_the_issues_share_of_cases_passes(inputs: Inputs, share: float) -> None:
    _, names = read_cases(FOLDER)
    refused = sum(mode == inputs for _, mode in read_page("litert", FOLDER))
    assert 1 - refused / len(names) >= share
