"""Every pass keeps ONNX Runtime's outputs on the real models and the toys."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper, numpy_helper

from edgekit._values import Component, DimRange
from edgekit.passes.bind_inputs import bind_inputs
from edgekit.passes.drop_identities import drop_identities
from edgekit.passes.fold_constants import fold_constants
from edgekit.passes.fuse_affine import fuse_affine
from edgekit.passes.fuse_batchnorm import fuse_batchnorm
from edgekit.passes.infer_shapes import infer_shapes
from edgekit.passes.lift_constants import lift_constants
from edgekit.passes.name_nodes import name_nodes
from edgekit.passes.prepare_component import prepare_component
from edgekit.passes.raise_opset import raise_opset
from edgekit.passes.remove_unused import remove_unused
from edgekit.passes.serialize_model import serialize_model
from edgekit.sources.onnx_file import load_onnx
from tests.models import (
    PACKAGE_MODELS,
    QUICK_SHAPES,
    TOYS,
    assert_same_outputs,
    package_model,
    random_feeds,
    run_onnx,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edgekit._values import ShapeSpec

PASSES: dict[str, Callable[[ir.Model], int]] = {
    "lift_constants": lift_constants,
    "raise_opset": raise_opset,
    "fold_constants": fold_constants,
    "fuse_batchnorm": fuse_batchnorm,
    "fuse_affine": fuse_affine,
    "drop_identities": drop_identities,
    "remove_unused": remove_unused,
    "name_nodes": name_nodes,
    "infer_shapes": infer_shapes,
}


@cache
def load(name: str) -> Component:
    component = load_onnx(package_model(name))
    if "sr" in QUICK_SHAPES[name]:
        bind_inputs(component.model, {"sr": np.array(16000)})
    return component


def fixed(name: str) -> ShapeSpec:
    return {
        key: tuple(DimRange(size, size) for size in dims)
        for key, dims in QUICK_SHAPES[name].items()
        if key != "sr"
    }


def original_outputs(name: str, seed: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    path = package_model(name)
    feeds = random_feeds(QUICK_SHAPES[name], path, seed=seed)
    return feeds, run_onnx(path, feeds)


@pytest.mark.parametrize("name", PACKAGE_MODELS)
def test_prepare_keeps_the_outputs_of_real_models(name: str) -> None:
    prepared = prepare_component(load(name), shapes=fixed(name))
    for seed in (0, 1):
        feeds, want = original_outputs(name, seed)
        assert_same_outputs(run_onnx(prepared.model, feeds), want)


@pytest.mark.parametrize("name", ["ppocr-det", "ppocr-rec", "ppocr-cls", "magika", "silero-half"])
@pytest.mark.parametrize("step", PASSES)
def test_each_pass_alone_keeps_the_outputs_of_real_models(name: str, step: str) -> None:
    model = load(name).model.clone()
    if step in ("fuse_batchnorm", "fuse_affine", "raise_opset"):
        lift_constants(model)
        infer_shapes(model)
    PASSES[step](model)
    feeds, want = original_outputs(name, 0)
    assert_same_outputs(run_onnx(model, feeds), want)


@pytest.mark.parametrize("toy", TOYS)
def test_prepare_keeps_the_outputs_of_toys(toy: str) -> None:
    proto = TOYS[toy]()
    prepared = prepare_component(Component("model", ir.from_proto(proto), "digest"), shapes={})
    shape = [dim.dim_value for dim in proto.graph.input[0].type.tensor_type.shape.dim]
    for seed in (0, 1):
        feeds = {"x": np.random.default_rng(seed).standard_normal(shape).astype(np.float32)}
        assert_same_outputs(run_onnx(prepared.model, feeds), run_onnx(proto, feeds))


@pytest.mark.parametrize("name", PACKAGE_MODELS)
def test_prepared_models_keep_the_promises_that_targets_build_on(name: str) -> None:
    source = load(name)
    before = serialize_model(source.model)
    model = prepare_component(source, shapes=fixed(name)).model
    nodes = list(model.graph.all_nodes())
    names = [node.name for node in nodes]
    assert all(names)
    assert len(set(names)) == len(names)
    assert model.opset_imports[""] == max(17, source.model.opset_imports[""])
    assert model.ir_version >= 8
    assert not [value.name for value in model.graph.inputs if value.is_initializer()]
    assert "Constant" not in {node.op_type for node in nodes}
    values = [value for node in nodes for value in node.outputs if value.name]
    unknown = [v.name for v in values if v.dtype is None or v.shape is None or not v.shape.is_static()]
    assert unknown == []
    onnx.checker.check_model(serialize_model(model), full_check=True)
    assert serialize_model(source.model) == before


def test_batchnorm_is_gone_from_ppocr_and_from_the_toy() -> None:
    for name in ("ppocr-det", "ppocr-rec", "ppocr-cls"):
        model = prepare_component(load(name), shapes=fixed(name)).model
        assert "BatchNormalization" not in {node.op_type for node in model.graph}
    toy = Component("model", ir.from_proto(TOYS["toy-cnn"]()), "digest")
    ops = [node.op_type for node in prepare_component(toy, shapes={}).model.graph]
    assert "BatchNormalization" not in ops
    assert len(ops) == 10


@pytest.mark.parametrize(
    ("name", "ranges", "sizes"),
    [
        (
            "ppocr-rec",
            {"x": ((1, 4), (3, 3), (48, 48), (32, 640))},
            [{"x": (1, 3, 48, 64)}, {"x": (2, 3, 48, 160)}],
        ),
        (
            "ppocr-det",
            {"x": ((1, 1), (3, 3), (32, 640), (32, 640))},
            [{"x": (1, 3, 64, 96)}, {"x": (1, 3, 96, 64)}],
        ),
        (
            "ppocr-cls",
            {"x": ((1, 6), (3, 3), (48, 48), (192, 192))},
            [{"x": (1, 3, 48, 192)}, {"x": (3, 3, 48, 192)}],
        ),
        ("magika", {"bytes": ((1, 8), (2048, 2048))}, [{"bytes": (1, 2048)}, {"bytes": (3, 2048)}]),
        (
            "silero-half",
            {"input": ((1, 4), (576, 576)), "state": ((2, 2), (1, 4), (128, 128))},
            [
                {"input": (1, 576), "state": (2, 1, 128)},
                {"input": (3, 576), "state": (2, 3, 128)},
            ],
        ),
    ],
)
def test_prepare_with_ranges_keeps_the_outputs_at_several_sizes(
    name: str,
    ranges: dict[str, tuple[tuple[int, int], ...]],
    sizes: list[dict[str, tuple[int, ...]]],
) -> None:
    shapes = {key: tuple(DimRange(*pair) for pair in pairs) for key, pairs in ranges.items()}
    prepared = prepare_component(load(name), shapes=shapes)
    path: Path = package_model(name)
    for size in sizes:
        feeds = random_feeds(size, path)
        assert_same_outputs(run_onnx(prepared.model, feeds), run_onnx(path, feeds))


def test_serialization_gives_the_same_bytes_twice() -> None:
    first, second = (
        serialize_model(prepare_component(load("ppocr-cls"), shapes=fixed("ppocr-cls")).model)
        for _ in range(2)
    )
    assert first == second


def test_a_branch_is_put_in_and_the_model_that_was_given_stays_as_it_is() -> None:
    """A branch's tensors are the caller's own and keep their names: one is the result, one is read."""
    shift, other = (numpy_helper.from_array(np.array([number], np.float32), "w") for number in (2.0, 5.0))
    branches = [
        helper.make_graph([], "then", [], [helper.make_tensor_value_info("w", 1, [1])], [shift]),
        helper.make_graph(
            [helper.make_node("Neg", ["w"], ["v"])],
            "else",
            [],
            [helper.make_tensor_value_info("v", 1, [1])],
            [other],
        ),
    ]
    for taken in (True, False):
        choose = helper.make_node(
            "If", ["on"], ["chosen"], "choose", then_branch=branches[0], else_branch=branches[1]
        )
        graph = helper.make_graph(
            [choose, helper.make_node("Add", ["x", "chosen"], ["y"])],
            "chosen",
            [helper.make_tensor_value_info("x", 1, [1])],
            [helper.make_tensor_value_info("y", 1, [1])],
            [numpy_helper.from_array(np.array(taken), "on")],
        )
        given = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        before = given.SerializeToString(deterministic=True)
        prepared = prepare_component(Component("chosen", ir.from_proto(given), "0" * 64), shapes={})
        assert given.SerializeToString(deterministic=True) == before
        assert {node.op_type for node in prepared.model.graph} == {"Add"}
        feeds = {"x": np.array([1.0], np.float32)}
        assert_same_outputs(run_onnx(prepared.model, feeds), run_onnx(before, feeds))
