"""The gate: its file, its limits, and what never passes."""

from __future__ import annotations

import math
from typing import Any

import pytest

from edgekit._results import OutputParity, TaskScore
from edgekit._verify.gate import Gate, Lowering, check_fp32, check_reference, gate_for, load_gates
from edgekit.errors import EdgekitError, UsageError

GOOD = OutputParity("y", 25.0, 0.999, 0.1, 0.98)


def test_default_int8_gate_is_the_documented_one() -> None:
    gate = load_gates()["int8"]
    assert (gate.min_sqnr_db, gate.min_top1) == (10.0, 0.90)


def test_float_variants_are_stricter_than_int8() -> None:
    gates = load_gates()
    assert gates["fp32"].min_sqnr_db == 60.0
    assert gates["fp16"].min_sqnr_db == 30.0
    assert all(gates[name].min_top1 == 0.99 for name in ("fp32", "fp16"))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("schema = 2", "schema"),
        ("schema = 1\n[int7.min_top1]\nvalue = 0.9\nreason = 'x'", "int7"),
        ("schema = 1\n[int8.min_sqnr]\nvalue = 0.9\nreason = 'x'", "did you mean 'min_sqnr_db'"),
        ("schema = 1\n[int8.min_top1]\nvalue = 0.9", "reason"),
        ("schema = 1\n[int8.min_top1]\nvalue = 'high'\nreason = 'x'", "float"),
        ("schema = 1\n[int8]\nmin_top1 = 0.9", "reason"),
    ],
)
def test_a_gate_file_with_a_mistake_is_refused(text: Any, told: Any) -> None:
    with pytest.raises(EdgekitError, match=told):
        load_gates(text)


def test_a_users_limit_replaces_only_its_own() -> None:
    gate = gate_for("int8", {"min_sqnr_db": 20.0})
    assert gate.min_sqnr_db == 20.0
    assert gate.min_top1 == 0.90


def test_an_unknown_or_nan_limit_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="did you mean 'min_top1'"):
        gate_for("int8", {"min_top_1": 0.5})
    with pytest.raises(UsageError, match="not a number"):
        gate_for("int8", {"min_top1": math.nan})


def test_good_parity_passes() -> None:
    assert check_fp32([GOOD], gate_for("int8"), None) == []


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        ({"min_sqnr_db": 26.0}, "SQNR 25.0 dB against fp32, below 26 dB"),
        ({"min_top1": 0.99}, "top-1 agreement 0.980 with fp32, below 0.99"),
        ({"min_cosine": 0.9995}, "cosine 0.9990"),
        ({"max_abs": 0.05}, "largest difference 0.1"),
    ],
)
def test_each_missed_limit_is_one_line_that_names_the_output(limits: Any, told: Any) -> None:
    lines = check_fp32([GOOD], Gate().changed(limits), None)
    assert len(lines) == 1
    assert lines[0].startswith("output 'y': ")
    assert told in lines[0]


def test_top1_none_is_not_gated() -> None:
    assert check_fp32([OutputParity("map", 25.0, 0.99, 0.1, None)], gate_for("int8"), None) == []


@pytest.mark.parametrize("sqnr", [-math.inf, math.nan])
def test_broken_or_empty_outputs_fail_even_an_empty_gate_and_a_good_task(sqnr: Any) -> None:
    parity = OutputParity("y", sqnr, 0.0, math.inf if sqnr == -math.inf else 0.0, None)
    task = TaskScore("top1", 0.9, 0.9, 10)
    assert len(check_fp32([parity], Gate(), None)) == 1
    assert len(check_fp32([parity], gate_for("int8"), task)) == 1


def test_a_task_metric_stands_in_for_the_limits_against_fp32() -> None:
    poor = OutputParity("y", 5.0, 0.5, 1.0, 0.5)
    gate = gate_for("int8")
    assert check_fp32([poor], gate, TaskScore("top1", 0.90, 0.86, 100)) == []
    lines = check_fp32([poor], gate, TaskScore("top1", 0.90, 0.80, 100))
    assert lines == ["top1: fp32 0.9000, artifact 0.8000 on 100 samples: drop 0.1000, above 0.05"]


def test_for_an_error_rate_a_rise_is_the_drop() -> None:
    gate = gate_for("int8")
    assert check_fp32([GOOD], gate, TaskScore("cer", 0.10, 0.02, 100, "lower")) == []
    assert len(check_fp32([GOOD], gate, TaskScore("cer", 0.02, 0.10, 100, "lower"))) == 1


def test_a_nan_score_fails() -> None:
    assert len(check_fp32([GOOD], gate_for("int8"), TaskScore("m", math.nan, 0.9, 1))) == 1


@pytest.mark.parametrize(
    ("fp32", "reference", "intended", "failures"),
    [
        (9.3, 9.8, 25.5, 1),  # PP-OCR cls with saturating kernels
        (5.7, 12.0, 5.9, 0),  # a deep network: far from its reference, yet no further from fp32
        (50.0, 50.0, math.inf, 0),  # near enough to the reference whatever fp32 is
        (20.0, 20.0, math.inf, 1),
        (math.inf, 20.0, 20.0, 0),
        (28.0, 27.9, 31.9, 0),  # PP-OCRv4 rec in Core ML's float16: near to fp32, whatever its graph gives
        (24.9, 24.0, 31.9, 1),
    ],
)
def test_what_the_runtime_adds_has_a_limit_of_its_own(
    fp32: float, reference: float, intended: float, failures: int
) -> None:
    rows = [OutputParity("y", sqnr, 0.9, 0.1, None) for sqnr in (fp32, reference, intended)]
    assert len(check_reference([Lowering(*rows)], gate_for("int8"))) == failures


def test_nan_against_the_reference_fails_any_gate() -> None:
    broken = OutputParity("y", -math.inf, 0.0, math.inf, None)
    assert len(check_reference([Lowering(GOOD, broken, GOOD)], Gate())) == 1
