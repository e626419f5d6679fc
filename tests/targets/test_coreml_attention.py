"""Attention as iOS 18's one operation: where it is made, where it is not, and that the numbers stay."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import helper

from edgekit.errors import UsageError
from edgekit.registry import resolve_target
from tests.conformance import eligible_cases, run_case
from tests.models import assert_same_outputs, run_onnx
from tests.targets.coreml_models import Ask, build, open_saved, read_back
from tests.targets.litert_encoder import encoder
from tests.targets.litert_models import model_of

if TYPE_CHECKING:
    from pathlib import Path

RNG = np.random.default_rng(61)
SDPA = "scaled_dot_product_attention"
NEW = Ask(software="ios-18")
SHAPES = {"q": [2, 3, 4, 8], "k": [2, 3, 6, 8], "v": [2, 3, 6, 5], "mask": [1, 1, 4, 6]}


@dataclass(frozen=True)
class Form:
    """How a model writes attention down; `steps` are (op, operands) from q, k, v and mask to "y"."""

    steps: tuple[tuple[str, ...], ...]
    shapes: dict[str, list[int]] = field(default_factory=dict)
    swap: tuple[int, ...] = (0, 1, 3, 2)

    def model(self) -> onnx.ModelProto:
        shapes = {**SHAPES, **self.shapes}
        nodes = []
        for op, *operands, result in self.steps:
            known: dict[str, dict[str, Any]] = {"Transpose": {"perm": self.swap}, "Softmax": {"axis": -1}}
            more = known.get(op, {})
            nodes.append(helper.make_node(op, operands, [result], result, **more))
        read = {name for node in nodes for name in node.input}
        weights = {"c": np.array(0.3, np.float32), "d": np.array([2.5], np.float32)}
        made = model_of(nodes, {name: dims for name, dims in shapes.items() if name in read}, weights)
        return onnx.shape_inference.infer_shapes(made)

    def feeds(self) -> dict[str, np.ndarray]:
        graph = self.model().graph
        sizes = {
            item.name: [dim.dim_value for dim in item.type.tensor_type.shape.dim] for item in graph.input
        }
        return {name: RNG.standard_normal(shape).astype(np.float32) for name, shape in sizes.items()}


TURN = ("Transpose", "k", "kt")
PLAIN = (("MatMul", "q", "kt", "s"), ("Softmax", "s", "p"), ("MatMul", "p", "v", "y"))
FUSED = {
    "no scale, no mask": Form((TURN, *PLAIN)),
    "a scale and a mask": Form(
        (TURN, ("MatMul", "q", "kt", "r"), ("Mul", "r", "c", "t"), ("Add", "t", "mask", "s"), *PLAIN[1:])
    ),
    "a mask in front of a divided product": Form(
        (TURN, ("MatMul", "q", "kt", "r"), ("Div", "r", "d", "t"), ("Add", "mask", "t", "s"), *PLAIN[1:])
    ),
    "both operands scaled": Form(
        (("Mul", "q", "c", "qs"), TURN, ("Mul", "c", "kt", "ks"), ("MatMul", "qs", "ks", "s"), *PLAIN[1:])
    ),
    "a mask of fewer dims": Form(
        (TURN, ("MatMul", "q", "kt", "r"), ("Add", "r", "mask", "s"), *PLAIN[1:]), {"mask": [6]}
    ),
    "a key that was moved anyway": Form((TURN, *PLAIN), {"k": [2, 6, 3, 8]}, swap=(0, 2, 3, 1)),
}
PLAIN_ONLY = {
    "a key that comes turned": Form(PLAIN, {"kt": [2, 3, 8, 6]}),
    "probabilities that are read elsewhere": Form(
        (TURN, *PLAIN[:2], ("MatMul", "p", "v", "o"), ("ReduceSum", "p", "m"), ("Add", "o", "m", "y"))
    ),
    "a mask of one entry for all keys": Form(
        (TURN, ("MatMul", "q", "kt", "r"), ("Add", "r", "mask", "s"), *PLAIN[1:]), {"mask": [1, 1, 4, 1]}
    ),
    "a factor behind the mask": Form(
        (TURN, ("MatMul", "q", "kt", "r"), ("Add", "r", "mask", "t"), ("Mul", "t", "c", "s"), *PLAIN[1:])
    ),
    "two dims": Form(
        (TURN, *PLAIN), {"q": [4, 8], "k": [6, 8], "v": [6, 5]}, swap=(1, 0)
    ),
    "a batch that spreads": Form((TURN, *PLAIN), {"q": [1, 3, 4, 8]}),
}  # fmt: skip


@pytest.mark.parametrize("name", [*FUSED, *PLAIN_ONLY])
def test_attention_is_one_operation_where_it_has_that_form_and_gives_the_same(
    name: str, tmp_path: Path
) -> None:
    form = FUSED.get(name) or PLAIN_ONLY[name]
    artifact, feeds = build(form.model(), tmp_path, NEW), form.feeds()
    codes = read_back(tmp_path / artifact.main).codes
    assert codes.count(SDPA) == (1 if name in FUSED else 0)
    assert ("softmax" in codes) == (name in PLAIN_ONLY)
    got = open_saved(artifact, tmp_path).run(feeds)
    assert_same_outputs(got, run_onnx(form.model(), feeds), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("ask", "count"),
    [(NEW, 2), (Ask(software="ios-17"), 0), (Ask(software="ios-18", options={"attention": "plain"}), 0)],
    ids=["ios-18", "ios-17", "plain"],
)
def test_an_encoder_gives_the_same_whatever_its_attention_is(ask: Ask, count: int, tmp_path: Path) -> None:
    model = encoder()
    info = model.graph.input[0]
    shape = [dim.dim_value for dim in info.type.tensor_type.shape.dim]
    feeds = {info.name: RNG.standard_normal(shape).astype(np.float32)}
    artifact = build(model, tmp_path, ask)
    assert read_back(tmp_path / artifact.main).codes.count(SDPA) == count
    assert artifact.macs is not None
    assert artifact.macs.total == 491840  # the same work, whatever it is called
    got = open_saved(artifact, tmp_path).run(feeds)
    assert_same_outputs(got, run_onnx(model, feeds), rtol=1e-4, atol=1e-5)


def test_an_unknown_form_of_attention_is_a_wrong_option(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="option attention='flash' is unknown"):
        build(encoder(), tmp_path, Ask(software="ios-18", options={"attention": "flash"}))


def test_onnx_attention_cases_pass_as_one_operation_too() -> None:
    target = resolve_target("coreml@ios-18")
    cases = [case for case in eligible_cases("frozen") if case.op == "Attention"][::6]
    assert len(cases) >= 8
    outcomes = [run_case(case, target) for case in cases]
    assert {outcome.status for outcome in outcomes} == {"pass"}
