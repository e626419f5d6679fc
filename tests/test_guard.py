"""The INT8 guard: what is offered where INT8 loses too much, is larger, or is slower on the device."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

import edgekit
from edgekit._guard import choose_offers
from edgekit._results import Parity
from edgekit._values import Artifact
from edgekit.reports.convert_report import proof_lines, render_convert
from tests.converted import make_workspace

if TYPE_CHECKING:
    from pathlib import Path

    from edgekit._values import Precision


def artifact(variant: Precision) -> Artifact:
    return Artifact("model", variant, f"model.{variant}.onnx", (f"model.{variant}.onnx",), "onnxruntime")


def parity(variant: Precision, *failures: str) -> Parity:
    return Parity("model", variant, "proven", "", 4, runs_equal=True, gate_failures=failures)


SIZES = {"model.int8.onnx": 100, "model.fp16.onnx": 200, "model.fp32.onnx": 400}
ALL = tuple(artifact(variant) for variant in ("int8", "fp16", "fp32"))
GOOD = tuple(parity(variant) for variant in ("int8", "fp16", "fp32"))


def test_int8_that_is_good_small_and_fast_is_offered_without_a_word() -> None:
    (offer,) = choose_offers(ALL, GOOD, SIZES, {("model", "int8"): 1.0, ("model", "fp16"): 2.0})
    assert (offer.variant, offer.reasons, offer.words) == ("int8", (), "")


@pytest.mark.parametrize(
    ("parities", "sizes", "latencies", "said"),
    [
        ((parity("int8", "top-1 is 80 %"), *GOOD[1:]), SIZES, {}, "it failed its gate: top-1 is 80 %"),
        (GOOD, SIZES | {"model.int8.onnx": 201}, {}, "it is larger than fp16: 201 B beside 200 B"),
        (
            GOOD,
            SIZES,
            {("model", "int8"): 2.5, ("model", "fp16"): 2.0},
            "it is slower than fp16: 2.5 ms beside 2 ms",
        ),
    ],
)
def test_int8_that_is_worse_in_one_way_is_not_offered_and_the_line_says_why(
    parities: tuple[Parity, ...],
    sizes: dict[str, int],
    latencies: dict[tuple[str, str], float],
    said: str,
) -> None:
    offers = choose_offers(ALL, parities, sizes, latencies)
    assert offers[0].words == f"model: fp16 is offered, INT8 is not: {said}"


def test_without_an_fp16_artifact_fp32_takes_its_place() -> None:
    (offer,) = choose_offers((ALL[0], ALL[2]), GOOD, SIZES | {"model.int8.onnx": 500})
    assert (offer.variant, offer.reasons) == ("fp32", ("it is larger than fp32: 500 B beside 400 B",))


def test_size_is_no_reason_where_another_runtime_loads_the_baseline() -> None:
    compiled, sizes = replace(ALL[0], runtime="onnxruntime-qnn"), SIZES | {"model.int8.onnx": 500}
    (offer,) = choose_offers((compiled, ALL[2]), GOOD, sizes)
    assert (offer.variant, offer.reasons) == ("int8", ())
    twin = replace(ALL[1], runtime="onnxruntime-qnn")
    (offer,) = choose_offers((compiled, twin, ALL[2]), GOOD, sizes)
    assert (offer.variant, offer.reasons) == ("fp16", ("it is larger than fp16: 500 B beside 200 B",))
    slow = {("model", "int8"): 3.0, ("model", "fp32"): 2.0}
    (offer,) = choose_offers((compiled, ALL[2]), GOOD, sizes, slow)
    assert offer.reasons == ("it is slower than fp32: 3 ms beside 2 ms",)


def test_a_baseline_that_failed_itself_is_not_offered_either() -> None:
    parities = (parity("int8", "worse"), parity("fp16", "overflow"), parity("fp32"))
    assert choose_offers(ALL, parities, SIZES)[0].variant == "fp32"
    nothing = tuple(parity(variant, "bad") for variant in ("int8", "fp16", "fp32"))
    assert "nothing better is in the bundle" in choose_offers(ALL, nothing, SIZES)[0].words


def test_a_float_bundle_offers_what_was_asked_for() -> None:
    assert choose_offers(ALL[1:], GOOD[1:], SIZES)[0].variant == "fp16"


def test_a_convert_whose_int8_fails_its_gate_says_what_is_offered_and_why(tmp_path: Path) -> None:
    place = make_workspace(tmp_path)
    result = edgekit.convert(
        place / "m.onnx",
        targets="ort-mobile",
        samples=place / "data",
        gate={"min_sqnr_db": 60},
        precisions="int8",
        output=place / "out",
        cache="off",
    )
    (offer,) = result.bundles[0].offers
    assert not result.passed
    assert offer.variant == "fp32"
    assert "model: fp32 is offered, INT8 is not: it failed its gate" in render_convert(result)


def test_a_long_list_of_failures_is_cut_where_a_reader_has_seen_enough() -> None:
    lines = proof_lines([parity("int8", *(f"output 'key_{index}': SQNR 3.0 dB" for index in range(30)))])
    failed = [line for line in lines if "FAILED" in line]
    assert failed[:2] == [f"  FAILED model int8: output 'key_{index}': SQNR 3.0 dB" for index in range(2)]
    assert failed[-1] == f"  FAILED model int8: and {30 - (len(failed) - 1)} more; --json tells all"
    assert len(failed) < 12
