from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import pytest
from onnx import helper

from edgekit.targets.litert.artifact_macs import op_names
from edgekit.targets.litert.call import folded_transpose
from edgekit.targets.litert.reshape_layout import follow_reshape
from tests.models import run_onnx
from tests.targets.litert_models import TARGET, build, model_of, prepared

if TYPE_CHECKING:
    from pathlib import Path

SHAPES = [
    ((2, 6, 4, 5), (2, 6, 20)),
    ((2, 6, 4, 5), (2, 2, 3, 4, 5)),
    ((2, 6, 4, 5), (12, 4, 5)),
    ((2, 6, 1, 1), (2, 6)),
    ((2, 6), (2, 6, 1, 1)),
    ((2, 6, 4, 5), (2, 120)),
    ((1, 6, 4, 5), (6, 4, 5)),
    ((2, 6, 4), (4, 3, 4)),
    ((2, 1, 6, 4), (2, 6, 1, 4)),
    ((1, 1, 1), (1,)),
]


@pytest.mark.parametrize(("before", "after"), SHAPES)
def test_a_followed_reshape_reads_memory_as_numpy_does(
    before: tuple[int, ...], after: tuple[int, ...]
) -> None:
    values = np.arange(np.prod(before)).reshape(before)
    for perm in itertools.permutations(range(len(before))):
        physical = np.empty([before[perm.index(place)] for place in range(len(before))], int)
        physical[...] = values.transpose([perm.index(place) for place in range(len(before))])
        made = follow_reshape(before, after, perm)
        if made is None:
            continue
        wanted = values.reshape(after).transpose([made.index(place) for place in range(len(after))])
        assert np.array_equal(physical.reshape(-1), wanted.reshape(-1)), perm
    assert follow_reshape(before, after, tuple(range(len(before)))) == tuple(range(len(after)))


def test_a_transpose_of_many_dims_is_folded_into_one_of_few() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        shape = rng.integers(1, 4, 7).tolist()
        order = rng.permutation(7).tolist()
        values = np.arange(np.prod(shape))
        sizes, moved = folded_transpose(shape, order)
        assert np.array_equal(
            values.reshape(sizes).transpose(moved).reshape(-1),
            values.reshape(shape).transpose(order).reshape(-1),
        )


@pytest.mark.parametrize("seed", range(12))
def test_random_nets_of_layout_ops_give_the_same_numbers(  # noqa: C901, PLR0915 - a branch an op
    seed: int, tmp_path: Path
) -> None:
    rng = np.random.default_rng(seed)
    nodes, weights, shape, value = [], {}, [1, 4, 6, 8], "x"
    for index in range(10):
        made = f"v{index}"
        kinds = ["Transpose", "Reshape", "Add", "Softmax", "ReduceMean", "Slice", "Concat"]
        kind = "Conv" if len(shape) == 4 and index % 3 == 0 else str(rng.choice(kinds))
        if kind == "Conv":
            weights[f"w{index}"] = rng.standard_normal((4, shape[1], 1, 1)).astype(np.float32) * 0.3
            nodes.append(helper.make_node("Conv", [value, f"w{index}"], [made]))
            shape = [shape[0], 4, *shape[2:]]
        elif kind == "Transpose":
            order = rng.permutation(len(shape)).tolist()
            nodes.append(helper.make_node("Transpose", [value], [made], perm=order))
            shape = [shape[axis] for axis in order]
        elif kind == "Reshape":
            size = int(np.prod(shape))
            target = (
                [shape[0] * shape[1], *shape[2:]]
                if len(shape) > 2
                else [1, 2, shape[0], size // 2 // shape[0]]
            )
            if int(np.prod(target)) != size:
                target = [1, size]
            weights[f"s{index}"] = np.array(target, np.int64)
            nodes.append(helper.make_node("Reshape", [value, f"s{index}"], [made]))
            shape = target
        elif kind == "Add":
            weights[f"b{index}"] = rng.standard_normal(shape[-2:]).astype(np.float32)
            nodes.append(helper.make_node("Add", [value, f"b{index}"], [made]))
        elif kind == "Softmax":
            nodes.append(helper.make_node("Softmax", [value], [made], axis=int(rng.integers(len(shape)))))
        elif kind == "ReduceMean":
            axis = int(rng.integers(len(shape)))
            nodes.append(helper.make_node("ReduceMean", [value], [made], axes=[axis], keepdims=1))
            shape = [1 if i == axis else size for i, size in enumerate(shape)]
        elif kind == "Slice":
            axis = int(np.argmax(shape))
            end = max(1, shape[axis] // 2)
            for name, number in (("b", 0), ("e", end), ("a", axis)):
                weights[f"{name}{index}"] = np.array([number])
            nodes.append(helper.make_node("Slice", [value, f"b{index}", f"e{index}", f"a{index}"], [made]))
            shape = [max(1, size // 2) if i == axis else size for i, size in enumerate(shape)]
        else:
            axis = int(rng.integers(len(shape)))
            nodes.append(helper.make_node("Concat", [value, value], [made], axis=axis))
            shape = [2 * size if i == axis else size for i, size in enumerate(shape)]
        value = made
    nodes.append(helper.make_node("Relu", [value], ["y"]))
    model = model_of(nodes, {"x": [1, 4, 6, 8]}, weights)
    feeds = {"x": rng.standard_normal((1, 4, 6, 8)).astype(np.float32)}
    artifact = build(prepared(model), tmp_path)
    got = TARGET.open(artifact, tmp_path).run(feeds)["y"]
    np.testing.assert_allclose(got, run_onnx(model, feeds)["y"], rtol=1e-4, atol=1e-5)


def test_a_channel_shuffle_needs_one_transpose_inside(tmp_path: Path) -> None:
    """Reshape, Transpose, Reshape between two convolutions: the groups swap while channels stay last."""
    rng = np.random.default_rng(0)
    weights = {
        "w": rng.standard_normal((6, 4, 1, 1)).astype(np.float32),
        "v": rng.standard_normal((5, 6, 1, 1)).astype(np.float32),
        "split": np.array([1, 2, 3, 6, 8]),
        "merge": np.array([1, 6, 6, 8]),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"]),
        helper.make_node("Reshape", ["a", "split"], ["b"]),
        helper.make_node("Transpose", ["b"], ["c"], perm=[0, 2, 1, 3, 4]),
        helper.make_node("Reshape", ["c", "merge"], ["d"]),
        helper.make_node("Conv", ["d", "v"], ["y"]),
    ]
    model = model_of(nodes, {"x": [1, 4, 6, 8]}, weights)
    artifact = build(prepared(model), tmp_path)
    assert op_names((tmp_path / artifact.main).read_bytes()).count("TRANSPOSE") == 3  # input, shuffle, output
    feeds = {"x": rng.standard_normal((1, 4, 6, 8)).astype(np.float32)}
    got = TARGET.open(artifact, tmp_path).run(feeds)["y"]
    np.testing.assert_allclose(got, run_onnx(model, feeds)["y"], rtol=1e-4, atol=1e-5)


def test_a_scalar_factor_stands_first_without_a_transpose(tmp_path: Path) -> None:
    """0.5 * x between two convolutions, as tanh-Gelu is exported: only the input and the output turn."""
    rng = np.random.default_rng(0)
    weights = {
        "w": rng.standard_normal((6, 4, 1, 1)).astype(np.float32),
        "v": rng.standard_normal((5, 6, 1, 1)).astype(np.float32),
        "half": np.array(0.5, np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"]),
        helper.make_node("Tanh", ["a"], ["b"]),
        helper.make_node("Mul", ["half", "b"], ["c"]),
        helper.make_node("Max", ["c", "a"], ["d"]),
        helper.make_node("Conv", ["d", "v"], ["y"]),
    ]
    model = model_of(nodes, {"x": [1, 4, 6, 8]}, weights)
    artifact = build(prepared(model), tmp_path)
    assert op_names((tmp_path / artifact.main).read_bytes()).count("TRANSPOSE") == 2
    feeds = {"x": rng.standard_normal((1, 4, 6, 8)).astype(np.float32)}
    got = TARGET.open(artifact, tmp_path).run(feeds)["y"]
    np.testing.assert_allclose(got, run_onnx(model, feeds)["y"], rtol=1e-4, atol=1e-5)
