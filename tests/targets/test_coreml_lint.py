"""The Neural Engine lint: every row of its table on a small graph, and what the rewrites take away."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit._values import Component, Device, DimRange
from edgekit.errors import TargetError, UsageError
from edgekit.passes.prepare_component import prepare_component
from edgekit.target import Job
from edgekit.targets.coreml.lint import lint
from edgekit.targets.coreml.lint_checks import CHECKS
from edgekit.targets.coreml.lint_rules import Rule, load_rules
from edgekit.targets.coreml.rewrite import rewrite_for_neural_engine
from tests.models import (
    QUICK_SHAPES,
    assert_same_outputs,
    package_model,
    random_feeds,
    run_onnx,
    toy_attention,
    toy_cnn,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgekit._values import Gap, Precision

PHONE = Device("generic-coreml", "iPhone", "coreml", "ios-18", {"ios-18": {}})


def job(precision: Precision = "fp16", **options: str) -> Job:
    return Job(PHONE, precision, options=options)


def component(
    nodes: Sequence[onnx.NodeProto],
    x: Sequence[int | str],
    weights: dict[str, np.ndarray] | None = None,
    dtype: int = TensorProto.FLOAT,
) -> Component:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", dtype, x)],
        [helper.make_tensor_value_info("y", TensorProto.UNDEFINED, None)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in (weights or {}).items()],
    )
    graph.output[0].type.Clear()
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return Component("model", ir.from_proto(onnx.shape_inference.infer_shapes(proto)), "0")


def node(op: str, inputs: str = "x", output: str = "y", **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op, inputs.split(), [output], f"the_{op}", **attributes)


def conv(kernel: Sequence[int], channels: int = 4, **attributes: Any) -> Component:
    x = (1, channels, *[40] * len(kernel))
    return component(
        [node("Conv", "x w", **attributes)], x, {"w": np.ones((4, channels, *kernel), np.float32)}
    )


def if_node() -> onnx.NodeProto:
    """y = relu(x) or -x, as `c` says."""
    branches: dict[str, Any] = {
        f"{name}_branch": helper.make_graph(
            [helper.make_node(op, ["x"], [op], op)],
            name,
            [],
            [helper.make_tensor_value_info(op, TensorProto.FLOAT, (1,))],
        )
        for name, op in (("then", "Relu"), ("else", "Neg"))
    }
    return node("If", "c", **branches)


INDICES = np.zeros((1, 1), np.int64)
HALF_INFINITE = np.array([0, -np.inf, 0, -np.inf] * 8, np.float32)
# Rule -> a graph that breaks it, and the node or tensor it must name.
BREAKS: dict[str, tuple[Component, str]] = {
    "dynamic-shape": (component([node("Relu")], (1, "n", 64, 64)), "x"),
    "rank": (component([node("Relu")], (1, 2, 3, 4, 5, 64)), "y"),
    "rank-5": (component([node("Relu")], (1, 2, 3, 4, 64)), "y"),
    "last-axis": (component([node("Relu")], (1, 64, 64, 1)), "y"),
    "extent": (component([node("Relu")], (1, 1, 1, 16385)), "y"),
    "dtype": (component([node("Add", "x x")], (1, 64), dtype=TensorProto.INT32), "y"),
    "linear": (component([node("MatMul", "x w")], (4, 8), {"w": np.ones((8, 4), np.float32)}), "the_MatMul"),
    "mask": (
        component([node("Add", "x m", "s"), node("Softmax", "s")], (4, 32), {"m": HALF_INFINITE}),
        "m",
    ),
    "transposed-last-axis": (component([node("Transpose", perm=[0, 2, 1])], (4, 128, 128)), "the_Transpose"),
    "recurrent": (
        component(
            [helper.make_node("GRU", ["x", "w", "r"], ["y"], "the_GRU", hidden_size=2)],
            (3, 1, 4),
            {"w": np.ones((1, 6, 4), np.float32), "r": np.ones((1, 6, 2), np.float32)},
        ),
        "the_GRU",
    ),
    "scatter": (
        component([node("ScatterND", "x i u")], (4, 64), {"i": INDICES, "u": np.ones((1, 64), np.float32)}),
        "the_ScatterND",
    ),
    "gather-nd": (component([node("GatherND", "x i")], (4, 64), {"i": INDICES}), "the_GatherND"),
    "gather": (
        component(
            [node("Gather", "w x")], (2,), {"w": np.ones((9, 64), np.float32)}, dtype=TensorProto.INT64
        ),
        "the_Gather",
    ),
    "control-flow": (
        component(
            [
                node("Greater", "x zero", "c"),
                if_node(),
            ],
            (1,),
            {"zero": np.zeros(1, np.float32)},
        ),
        "the_If",
    ),
    "data-dependent": (component([node("NonZero")], (4, 64)), "the_NonZero"),
    "arithmetic": (component([node("Tan")], (4, 64)), "the_Tan"),
    "random": (component([node("RandomNormalLike")], (4, 64)), "the_RandomNormalLike"),
    "dilation": (conv((3, 3), dilations=[2, 2]), "the_Conv"),
    "large-kernel": (conv((9, 3)), "the_Conv"),
    "stride": (conv((3, 3), strides=[5, 5]), "the_Conv"),
    "pool-stride": (
        component([node("MaxPool", kernel_shape=[3, 3], strides=[3, 3])], (1, 4, 96, 96)),
        "the_MaxPool",
    ),
    "three-dimensional": (conv((3, 3, 3)), "the_Conv"),
    "arg-reduction": (component([node("ArgMax", axis=1)], (4, 2049)), "the_ArgMax"),
}


def of_rule(gaps: list[Gap], name: str) -> list[Gap]:
    says = next(rule.says for rule in load_rules() if rule.name == name)
    ops = next(rule.ops for rule in load_rules() if rule.name == name)
    return [gap for gap in gaps if gap.rule.startswith(says) and (not ops or gap.op in ops)]


def test_every_row_has_a_graph_that_breaks_it_and_a_check() -> None:
    assert {rule.name for rule in load_rules()} == {*BREAKS, "precision"}
    assert {rule.check for rule in load_rules()} == set(CHECKS)


@pytest.mark.parametrize("name", BREAKS)
def test_a_graph_that_breaks_a_rule_is_told_where_by_whom_and_what_to_do(name: str) -> None:
    given, place = BREAKS[name]
    found = of_rule(lint(given, job()), name)
    assert [gap.node for gap in found] == [place]
    assert found[0].severity == "warning"
    assert "likely" in found[0].rule
    assert "says https://" in found[0].rule
    assert found[0].way_out


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("dynamic-shape", component([node("Relu")], (1, 4, 64, 64))),
        ("rank", component([node("Relu")], (1, 2, 3, 4, 64))),
        ("rank-5", component([node("Relu")], (1, 2, 3, 64))),
        ("last-axis", component([node("Relu")], (1, 64, 64, 32))),
        ("last-axis", component([node("Relu")], (1, 64, 1, 1))),
        ("extent", component([node("Relu")], (1, 1, 1, 16384))),
        ("linear", component([node("MatMul", "x x")], (8, 8))),
        ("mask", component([node("Add", "x m")], (4, 32), {"m": HALF_INFINITE})),
        ("transposed-last-axis", component([node("Transpose", perm=[1, 0, 2])], (4, 128, 128))),
        ("gather", component([node("Gather", "x i")], (4, 64), {"i": INDICES})),
        ("dilation", conv((3, 3))),
        ("large-kernel", conv((8, 8))),
        ("stride", conv((3, 3), strides=[4, 4])),
        ("pool-stride", component([node("MaxPool", kernel_shape=[2, 2], strides=[2, 2])], (1, 4, 64, 64))),
        ("three-dimensional", conv((3, 3))),
        ("arg-reduction", component([node("ArgMax", axis=1)], (4, 2048))),
    ],
)
def test_a_graph_just_inside_a_rule_is_not_told(name: str, given: Component) -> None:
    assert of_rule(lint(given, job()), name) == []


def test_float32_is_told_once_and_only_for_a_float32_job() -> None:
    given = component([node("Relu")], (1, 4, 64, 64))
    assert [gap.rule.split(" (")[0] for gap in lint(given, job("fp32"))] == [
        "a program in float32 likely runs on the CPU and GPU only"
    ]
    assert lint(given, job()) == []


def test_a_range_that_the_user_asked_for_counts_as_open() -> None:
    given = component([node("Relu")], (1, 4, 64, 64))
    shapes = {"x": (DimRange(1, 8), *(DimRange(size, size) for size in (4, 64, 64)))}
    assert len(of_rule(lint(given, Job(PHONE, "fp16", shapes=shapes)), "dynamic-shape")) == 1


def test_many_places_make_one_warning_that_counts_them() -> None:
    nodes = [helper.make_node("Tan", [f"t{i}" if i else "x"], [f"t{i + 1}"], f"n{i}") for i in range(6)]
    given = component([*nodes, node("Relu", "t6")], (4, 64))
    (gap,) = lint(given, job())
    assert gap.node == "n0"
    assert ", and so 'n1', 'n2', 'n3' and 2 more; says" in gap.rule


def test_hostile_names_are_cut_and_made_printable() -> None:
    names = ["a", "b\x1b[2J", "c" * 500]
    nodes = [helper.make_node("Tan", [f"t{i}" if i else "x"], [f"t{i + 1}"], n) for i, n in enumerate(names)]
    (gap,) = lint(component([*nodes, node("Relu", "t3")], (4, 64)), job())
    assert gap.rule.isprintable()
    assert len(gap.rule) < 600


def test_a_row_must_say_likely_and_name_its_source() -> None:
    with pytest.raises(TargetError, match="does not say 'likely'"):
        Rule("x", "operator", "runs on the CPU", "nothing", ("https://example.org",))
    with pytest.raises(TargetError, match="names no source"):
        Rule("x", "operator", "likely runs on the CPU", "nothing", ())


def prepared(model: onnx.ModelProto) -> Component:
    return prepare_component(Component("model", ir.from_proto(model), "0"), shapes={})


def test_rewrites_take_their_own_findings_away_and_leave_the_input_unchanged() -> None:
    given = prepared(toy_attention())
    before = ir.to_proto(given.model).SerializeToString()
    left = {
        rewrite: {gap.node for gap in lint(rewrite_for_neural_engine(given, job(rewrite=rewrite)), job())}
        for rewrite in ("off", "safe", "ane")
    }
    assert left == {"off": {"query", "mask"}, "safe": {"query"}, "ane": set()}
    assert ir.to_proto(given.model).SerializeToString() == before
    assert rewrite_for_neural_engine(given, job(rewrite="off")) is given


def test_the_default_rewrite_is_the_one_that_keeps_every_bit() -> None:
    given = prepared(toy_attention())
    feeds = {"x": np.random.default_rng(1).standard_normal((2, 5, 8)).astype(np.float32)}
    want, got = run_onnx(given.model, feeds), run_onnx(rewrite_for_neural_engine(given, job()).model, feeds)
    assert np.array_equal(want["y"], got["y"])


def test_a_finite_mask_is_only_bounded_where_float16_would_make_it_infinite() -> None:
    mask = np.where(np.isinf(HALF_INFINITE), np.float32(-1e9), HALF_INFINITE)
    given = component([node("Add", "x m", "s"), node("Softmax", "s")], (4, 32), {"m": mask})
    assert rewrite_for_neural_engine(given, job("fp32")) is given
    assert rewrite_for_neural_engine(given, job("fp16")) is not given
    assert of_rule(lint(given, job("fp32")), "mask") == []
    assert len(of_rule(lint(given, job("int8")), "mask")) == 1


def test_a_model_without_anything_to_rewrite_is_given_back() -> None:
    given = prepared(toy_cnn())
    assert rewrite_for_neural_engine(given, job()) is given


def test_an_unknown_rewrite_is_wrong_usage() -> None:
    with pytest.raises(UsageError, match="use one of: safe, ane, off"):
        rewrite_for_neural_engine(prepared(toy_cnn()), job(rewrite="always"))


@pytest.mark.parametrize("rewrite", ["safe", "ane"])
@pytest.mark.parametrize("name", QUICK_SHAPES)
def test_real_models_keep_their_outputs_under_every_rewrite(name: str, rewrite: str) -> None:
    path = package_model(name)
    shapes = {key: tuple(DimRange(size, size) for size in dims) for key, dims in QUICK_SHAPES[name].items()}
    given = prepare_component(Component("model", ir.load(path), "0"), shapes=shapes)
    feeds = random_feeds(QUICK_SHAPES[name], path)
    want = run_onnx(given.model, feeds)
    got = run_onnx(rewrite_for_neural_engine(given, job(rewrite=rewrite)).model, feeds)
    if rewrite == "safe":
        assert all(np.array_equal(got[key], want[key], equal_nan=True) for key in want)
    assert_same_outputs(got, want, rtol=1e-4, atol=1e-5)


def test_the_page_has_the_very_table_of_rules() -> None:
    page = (Path(__file__).parents[2] / "docs/targets/coreml-neural-engine.md").read_text(encoding="utf-8")
    table = page.split("## Rules")[1].split("## On a Mac")[0]
    shown = [line for line in table.splitlines() if line.startswith("| ")][1:]
    cells = [
        (rule.name, ", ".join(rule.ops) or "-", rule.says, rule.way_out, "; ".join(rule.sources))
        for rule in load_rules()
    ]
    assert shown == [f"| {' | '.join(row)} |" for row in cells]
