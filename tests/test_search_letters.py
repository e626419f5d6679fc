"""What `--max-drop` judges a recognizer by: letters, in the search and of the artifact that comes of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
import pytest

from edgekit._recipe import Recipe
from edgekit._search.judge import Judge
from edgekit._target_work import TargetWork
from edgekit._verify import Golden, GoldenSample
from edgekit.calibration.samples import Sample

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgekit._values import Precision

CHARACTERS = "cato"  # PP-OCR's end with a space that no vocabulary holds
FP32 = "_cc_aa_tt_"


class Reader:
    """A session that reads one text a sample, `_` where it reads nothing."""

    def __init__(self, *texts: str) -> None:
        self.texts = texts

    def run(self, feeds: Mapping[str, np.ndarray], taps: Sequence[str] = ()) -> dict[str, np.ndarray]:
        del taps
        text = self.texts[int(feeds["x"][0])]
        rows = np.zeros((1, len(text), len(CHARACTERS) + 2), np.float32)
        rows[0, range(len(text)), [("_" + CHARACTERS + " ").index(letter) for letter in text]] = 1.0
        return {"y": rows}


def shop_of_reader() -> Any:
    """The workshop of a recognizer that reads FP32 from both samples."""
    output = ir.val("y", ir.DataType.FLOAT, [1, "steps", len(CHARACTERS) + 2])
    return SimpleNamespace(
        plan=lambda item: item,
        recipe=Recipe.of("m.onnx", targets="litert"),
        samples=[Sample(str(index), {"x": np.array([index])}) for index in range(2)],
        fp32=Reader(FP32, FP32),
        scores=frozenset({"y"}),
        component=SimpleNamespace(model=SimpleNamespace(graph=SimpleNamespace(outputs=[output]))),
        expected=SimpleNamespace(metadata={"character": "\n".join(CHARACTERS)}),
    )


def judge_reader() -> Judge:
    return Judge(shop_of_reader(), 0.005)


@pytest.mark.parametrize(
    ("steps", "read"),
    [
        ("_cc_aa_tt_", 0),  # as fp32
        ("cc__aa_tt_", 0),  # a letter is seen a step earlier
        ("_cc_aa_t_ ", 0),  # a space at the border
        ("_cc_aa____", 1 / 6),  # one letter of two times three is lost
        ("_cc_oo____", 2 / 6),
        ("__________", 3 / 6),
    ],
)
def test_a_recognizer_loses_letters_and_not_steps(steps: str, read: float) -> None:
    """The second sample reads as fp32's."""
    judge = judge_reader()
    assert judge.measure(Reader(steps, FP32)).share == pytest.approx(read)
    assert judge.words == "agreement with fp32's letters"


@pytest.mark.parametrize(
    ("artifact", "graph", "told"),
    [
        (FP32, FP32, []),
        ("cc__aa_tt_", FP32, []),  # rows differ, letters don't
        ("_cc_aa____", "_cc_aa____", []),  # the graph lost it too, and that counted in the search
        ("_cc_aa____", FP32, ["letters: 0.667 on the golden samples, its Q/DQ graph 1.000, allowed 0.995"]),
        ("_cc_______", "_cc_aa____", ["0.333 on the golden samples, its Q/DQ graph 0.667, allowed 0.995"]),
    ],
)
def test_an_artifact_is_held_to_what_its_graph_was_let_lose(
    artifact: str, graph: str, told: list[str]
) -> None:
    assert wrong_words(artifact, graph, FP32, told) == []


@pytest.mark.parametrize(
    ("artifact", "fp32", "told"),
    [
        # One step of 200 is the half percent that is allowed; here it is one letter of four.
        ("_" * 190 + "_c_a_t____", "_" * 190 + "_c_a_t_o__", ["letters: 0.750 on the golden samples"]),
        ("_" * 200, "_" * 200, []),
        ("_" * 199 + "c", "_" * 200, ["letters: 0.000 on the golden samples"]),  # a letter out of nothing
    ],
)
def test_steps_that_agree_do_not_stand_in_for_letters(artifact: str, fp32: str, told: list[str]) -> None:
    assert wrong_words(artifact, fp32, fp32, told) == []


def wrong_words(artifact: str, graph: str, fp32: str, told: list[str]) -> list[str]:
    """The faults of a reader whose graph read so on one golden sample, where they are not the ones told."""
    faults = judge_reader().find_faults(Reader(artifact), golden_of(fp32, graph))
    return [fault for fault, words in zip(faults, told, strict=True) if words not in fault]


@pytest.mark.parametrize(
    ("allowed", "variant", "least"),
    [("0.5%", "int8", 0.9), ("20%", "int8", 0.8), ("0.5%", "fp16", 0.995), ("20%", "fp16", 0.8)],
)
def test_rows_of_int8_are_held_to_no_more_than_a_user_asks(
    allowed: str, variant: Precision, least: float
) -> None:
    """gate.toml asks INT8 for 0.9; what a search judges by is held to --max-drop besides."""
    shop: Any = SimpleNamespace(
        plan=lambda item: item,
        recipe=Recipe.of("m.onnx", targets="litert", samples="data", max_drop=allowed),
        samples=SimpleNamespace(kind="real"),
    )
    item: Any = None
    assert TargetWork(item, shop).gate(variant).min_top1 == pytest.approx(least)


def golden_of(fp32: str, graph: str) -> Golden:
    """One golden sample."""
    feeds = {"x": np.array([0])}
    exact, intended = (Reader(text).run(feeds) for text in (fp32, graph))
    return Golden("model", "samples", (GoldenSample(feeds, exact, intended),))


def test_each_kernel_that_an_artifact_runs_on_is_held_to_what_its_search_judged_by() -> None:
    item: Any = None
    work = TargetWork(item, shop_of_reader())
    kernels, golden = {"": Reader(FP32), "reference kernels": Reader("_cc_aa____")}, golden_of(FP32, FP32)
    assert work._lost(kernels, golden) == []  # nothing was searched
    found: Any = SimpleNamespace(allowed=0.005)
    work._mix = found
    (line,) = work._lost(kernels, golden)
    assert line.startswith("reference kernels: agreement with fp32's letters: 0.667 on the golden samples")
    found.allowed = 1 / 3
    assert work._lost(kernels, golden) == []
