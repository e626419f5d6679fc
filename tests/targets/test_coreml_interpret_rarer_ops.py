"""Rarer operations of the MIL interpreter beside ONNX Runtime, coremltools' folding, TensorFlow's words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit.errors import CannotRunHere
from edgekit.targets.coreml.interpret import MilSession
from edgekit.targets.coreml.interpret.ops import boxes, image, sparse
from edgekit.targets.coreml.interpret.program import walk
from edgekit.targets.coreml.interpret.unsupported import Unsupported
from edgekit.targets.coreml.write_package import lower_program, quiet, write_package
from tests.targets.test_coreml_interpret import by_onnx, evaluate, small

if TYPE_CHECKING:
    from pathlib import Path

RNG = np.random.default_rng(41)
X, WHOLE = small(2, 3, 5), RNG.integers(-9, 9, (2, 3, 5)).astype(np.int32)
IMAGE = small(2, 3, 7, 9)


def run_nodes(nodes: list[Any], weights: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """ONNX Runtime's own "y" of a few nodes over the input "x"."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [helper.make_empty_tensor_value_info("y")],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    sets = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=sets, ir_version=9)
    made: Any = ort.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    return np.asarray(made[0])


def fold(make: Any, level: int = 18) -> np.ndarray:
    """What coremltools folds an operation on constants to."""
    from coremltools.converters.mil.mil import Builder, Function, Program

    from edgekit.targets.coreml.write_program import opset_of

    with quiet():
        Program()
        with Function({}, opset_version=opset_of(level)):
            return np.asarray(make(Builder).val)


@pytest.mark.parametrize("x", [X, WHOLE], ids=["float", "whole"])
@pytest.mark.parametrize(("exclusive", "reverse"), [(0, 0), (1, 0), (0, 1), (1, 1)])
def test_running_sums(x: np.ndarray, exclusive: int, reverse: int, tmp_path: Path) -> None:
    (made,) = evaluate(
        lambda mb, v: mb.cumsum(x=v["x"], axis=1, exclusive=bool(exclusive), reverse=bool(reverse)),
        {"x": x},
        tmp_path,
    )
    (want,) = by_onnx("CumSum", [x, np.array(1)], exclusive=exclusive, reverse=reverse)
    np.testing.assert_allclose(made, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("lower", "upper"), [(0, -1), (-1, 1), (2, 0), (-1, -1)])
def test_a_band_about_the_diagonal(lower: int, upper: int, tmp_path: Path) -> None:
    (made,) = evaluate(lambda mb, v: mb.band_part(x=v["x"], lower=lower, upper=upper), {"x": X}, tmp_path)
    np.testing.assert_array_equal(made, fold(lambda mb: mb.band_part(x=X, lower=lower, upper=upper)))


@pytest.mark.parametrize(
    ("equation", "left", "right"),
    [
        ("nchw,nwhu->nchu", small(2, 3, 4, 5), small(2, 5, 4, 6)),
        ("nchw,nwhu->nchu", small(1, 3, 4, 5), small(2, 5, 1, 6)),
        ("chw,whr->chr", small(3, 4, 5), small(5, 4, 2)),
    ],
)
def test_einsum(equation: str, left: np.ndarray, right: np.ndarray, tmp_path: Path) -> None:
    (made,) = evaluate(
        lambda mb, v: mb.einsum(values=(v["x"], v["y"]), equation=equation),
        {"x": left, "y": right},
        tmp_path,
    )
    want = run_nodes([helper.make_node("Einsum", ["x", "w"], ["y"], equation=equation)], {"w": right}, left)
    np.testing.assert_allclose(made, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("bounds", [(1.0, 7.0, 1.5), (5.0, -2.0, -2.0)])
def test_a_range_up_and_down(bounds: tuple[float, float, float], tmp_path: Path) -> None:
    start, end, step = (np.float32(item) for item in bounds)
    (made,) = evaluate(
        lambda mb, v: mb.range_1d(start=mb.squeeze(x=v["x"], axes=[0]), end=end, step=step),
        {"x": np.array([start])},
        tmp_path,
    )
    node = helper.make_node("Range", ["s", "e", "d"], ["y"])
    weights = {name: np.asarray(item) for name, item in (("s", start), ("e", end), ("d", step))}
    want = run_nodes([node], weights, np.zeros(1, np.float32))
    np.testing.assert_array_equal(made, want)


@pytest.mark.parametrize("mask", [None, "float", "bool"])
def test_attention(mask: str | None, tmp_path: Path) -> None:
    query, key, value = small(2, 3, 4, 8), small(2, 3, 6, 8), small(2, 3, 6, 5)
    given = {None: {}, "float": {"attn_mask": small(1, 1, 4, 6)}, "bool": {"attn_mask": small(4, 6) > -1}}[
        mask
    ]
    (made,) = evaluate(
        lambda mb, v: mb.scaled_dot_product_attention(query=v["q"], key=v["k"], value=v["v"], **given),
        {"q": query, "k": key, "v": value},
        tmp_path,
        18,
    )
    want = fold(lambda mb: mb.scaled_dot_product_attention(query=query, key=key, value=value, **given))
    np.testing.assert_allclose(made, want, rtol=1e-4, atol=1e-5)


# The last example of TensorFlow's documentation of space_to_batch_nd.
BATCHED = np.arange(1, 17, dtype=np.float32).reshape(2, 1, 2, 4)
SPREAD = np.array(
    [[0, 1, 3], [0, 9, 11], [0, 2, 4], [0, 10, 12], [0, 5, 7], [0, 13, 15], [0, 6, 8], [0, 14, 16]],
    np.float32,
)[:, None, None]


def test_space_goes_to_the_batch_and_back(tmp_path: Path) -> None:
    (made,) = evaluate(
        lambda mb, v: mb.space_to_batch(x=v["x"], block_shape=[2, 2], paddings=[[0, 0], [2, 0]]),
        {"x": BATCHED},
        tmp_path,
    )
    np.testing.assert_array_equal(made, SPREAD)
    (tmp_path / "back").mkdir()
    (back,) = evaluate(
        lambda mb, v: mb.batch_to_space(x=v["x"], block_shape=[2, 2], crops=[[0, 0], [2, 0]]),
        {"x": SPREAD},
        tmp_path / "back",
    )
    np.testing.assert_array_equal(back, BATCHED)


@pytest.mark.parametrize("mode", ["STRICT_ALIGN_CORNERS", "UNALIGN_CORNERS", "DEFAULT"])
def test_resizing_the_last_dims(mode: str, tmp_path: Path) -> None:
    transform = {
        "STRICT_ALIGN_CORNERS": "align_corners",
        "UNALIGN_CORNERS": "half_pixel",
        "DEFAULT": "asymmetric",
    }[mode]
    (made,) = evaluate(
        lambda mb, v: mb.resize(
            x=v["x"],
            shape=[1, 0, 14],
            resized_dims=np.uint32(2),
            interpolation_mode="LINEAR",
            sampling_mode=mode,
        ),
        {"x": IMAGE},
        tmp_path,
    )
    (want,) = by_onnx(
        "Resize",
        [IMAGE, None, None, np.array([2, 3, 7, 14])],
        mode="linear",
        coordinate_transformation_mode=transform,
    )
    np.testing.assert_allclose(made, want, rtol=1e-5, atol=1e-5)


def test_a_nearest_neighbour_that_the_documentation_leaves_open_is_refused(tmp_path: Path) -> None:
    def make(mb: Any, v: dict[str, Any]) -> Any:
        return mb.resize(
            x=v["x"], shape=[7, 14], resized_dims=np.uint32(2), interpolation_mode="NEAREST_NEIGHBOR"
        )

    with pytest.raises(CannotRunHere, match="which neighbour a factor that is no whole number picks"):
        evaluate(make, {"x": IMAGE}, tmp_path)


@pytest.mark.parametrize("mode", ["UNALIGN_CORNERS", "DEFAULT"])
def test_a_nearest_neighbour_of_a_whole_factor(mode: str, tmp_path: Path) -> None:
    (made,) = evaluate(lambda mb, v: _resize_nearest(mb, v["x"], mode), {"x": IMAGE}, tmp_path)
    (want,) = by_onnx(
        "Resize",
        [IMAGE, None, None, np.array([2, 3, 21, 18])],
        mode="nearest",
        coordinate_transformation_mode="half_pixel",
    )
    np.testing.assert_array_equal(made, want)


@pytest.mark.parametrize("mode", ["STRICT_ALIGN_CORNERS", "ALIGN_CORNERS", "OFFSET_CORNERS"])
def test_a_nearest_neighbour_at_places_between_the_repeats_is_refused(mode: str, tmp_path: Path) -> None:
    with pytest.raises(CannotRunHere, match=f"which neighbour of a place of '{mode}'"):
        evaluate(lambda mb, v: _resize_nearest(mb, v["x"], mode), {"x": IMAGE}, tmp_path)


def _resize_nearest(mb: Any, x: Any, mode: str) -> Any:
    return mb.resize(
        x=x,
        shape=[21, 18],
        resized_dims=np.uint32(2),
        interpolation_mode="NEAREST_NEIGHBOR",
        sampling_mode=mode,
    )


def test_words_that_no_package_of_coremltools_has_are_refused() -> None:
    """Its builder refuses them itself, so they come from a file that something else wrote."""
    with pytest.raises(Unsupported, match="interpolation_mode 'CUBIC'"):
        image.COMPUTES["resize"](IMAGE, shape=[7, 9], resized_dims=2, interpolation_mode="CUBIC")
    settings: dict[str, Any] = {
        "output_width": 6, "sampling_mode": "bilinear", "padding_mode": "constant", "padding_value": 0.0,
        "align_corners": True,
    }  # fmt: skip
    for mode, height in (("normalized_zero_to_one", 5), ("normalized_minus_one_to_one", 1)):
        with pytest.raises(Unsupported, match=f"where '{mode}' puts {height}x6"):
            boxes.COMPUTES["affine"](
                IMAGE, small(1, 6), output_height=height, coordinates_mode=mode, **settings
            )


def test_boxes_are_cut_out_as_tensorflow_does(tmp_path: Path) -> None:
    places = np.array([[0.1, 0.2, 0.8, 0.9], [-0.2, 0.3, 0.7, 1.4], [0.9, 0.8, 0.2, 0.1]], np.float32)
    chosen = np.array([1, 0, 1], np.int32)
    (made,) = evaluate(
        lambda mb, v: mb.crop_resize(
            x=v["x"], boxes=places, box_indices=chosen, target_height=4, target_width=5,
            normalized_coordinates=True, sampling_mode="STRICT_ALIGN_CORNERS", pad_value=np.float32(0.5),
        ),
        {"x": IMAGE},
        tmp_path,
    )  # fmt: skip
    node = helper.make_node(
        "CropAndResize", ["x", "b", "i", "s"], ["y"], domain="com.microsoft", extrapolation_value=0.5
    )
    weights = {"b": places, "i": chosen, "s": np.array([4, 5], np.int32)}
    np.testing.assert_allclose(made, run_nodes([node], weights, IMAGE), rtol=1e-4, atol=1e-5)


def test_an_affine_transform_samples_as_onnx_does(tmp_path: Path) -> None:
    matrices = np.array([[0.8, 0.2, 0.1, -0.3, 1.1, 0.2], [1, 0, 0, 0, 1, -0.7]], np.float32)
    (made,) = evaluate(
        lambda mb, v: mb.affine(
            x=v["x"], transform_matrix=matrices, output_height=5, output_width=6, sampling_mode="bilinear",
            padding_mode="constant", padding_value=0.0, coordinates_mode="normalized_minus_one_to_one",
            align_corners=True,
        ),
        {"x": IMAGE},
        tmp_path,
    )  # fmt: skip
    nodes = [
        helper.make_node("AffineGrid", ["m", "s"], ["grid"], align_corners=1),
        helper.make_node("GridSample", ["x", "grid"], ["y"], align_corners=1),
    ]
    weights = {"m": matrices.reshape(2, 2, 3), "s": np.array([2, 3, 5, 6])}
    np.testing.assert_allclose(made, run_nodes(nodes, weights, IMAGE), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_rnn_is_onnx_rnn(activation: str, tmp_path: Path) -> None:
    x, w, r, b, h = small(7, 2, 4), small(3, 4), small(3, 3), small(3), small(2, 3)
    made = evaluate(
        lambda mb, v: mb.rnn(
            x=v["x"],
            initial_h=h,
            weight_ih=w,
            weight_hh=r,
            bias=b,
            output_sequence=True,
            activation=activation,
        ),
        {"x": x},
        tmp_path,
    )
    both = np.concatenate([b, np.zeros(3, np.float32)])[None]
    name = {"tanh": "Tanh", "relu": "Relu"}[activation]
    want = by_onnx(
        "RNN", [x, w[None], r[None], both, None, h[None]], results=2, hidden_size=3, activations=[name]
    )
    np.testing.assert_allclose(made[0], want[0][:, 0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(made[1], want[1][0], rtol=1e-4, atol=1e-5)


def test_gru_is_refused_for_its_documents_contradict_each_other(tmp_path: Path) -> None:
    def make(mb: Any, v: dict[str, Any]) -> Any:
        weights = {"weight_ih": small(9, 4), "weight_hh": small(9, 3)}
        return mb.gru(x=v["x"], initial_h=small(2, 3), **weights)

    with pytest.raises(CannotRunHere, match="operations without a formula here: gru"):
        evaluate(make, {"x": small(5, 2, 4)}, tmp_path)


def test_sparse_weights_are_restored_as_coremltools_does() -> None:
    from coremltools.converters.mil.mil.ops.defs.iOS16.constexpr_ops import (
        constexpr_sparse_to_dense as packed,
    )
    from coremltools.converters.mil.mil.ops.defs.iOS18 import compression

    mask = (RNG.random((4, 6)) > 0.5).astype(np.uint8)
    kept = RNG.integers(0, 4, int(mask.sum())).astype(np.uint8)
    made = sparse.MOVES["constexpr_sparse_to_dense"](kept, mask)
    np.testing.assert_array_equal(made, compression.constexpr_sparse_to_dense.decompress(kept, mask))
    bits = np.packbits(mask.reshape(-1), bitorder="little")
    made = sparse.MOVES["constexpr_sparse_to_dense"](kept, bits, shape=[4, 6])
    np.testing.assert_array_equal(made, packed.decompress(kept, bits, np.array([4, 6])))

    scale, offset = small(2, 1).__abs__(), np.array([[1], [2]], np.uint8)
    made = sparse.MOVES["constexpr_sparse_blockwise_shift_scale"](mask, kept, scale, offset)
    want = compression.constexpr_sparse_blockwise_shift_scale.decompress(mask, kept, scale, offset)
    np.testing.assert_allclose(made[1], want[1], rtol=1e-6)

    table = small(1, 2, 4, 1)
    made = sparse.MOVES["constexpr_lut_to_sparse"](mask, kept, table)
    want = compression.constexpr_lut_to_sparse.decompress(mask, kept, table, None)
    np.testing.assert_array_equal(made[1], want[1])


def test_a_pruned_package_equals_the_package_of_the_pruned_weight(tmp_path: Path) -> None:
    import coremltools
    from coremltools.optimize import coreml as optimize

    builder, opset = _linear_program(weight := small(64, 64))
    with quiet():
        model = lower_program(builder, opset, "fp32")
        config = optimize.OptimizationConfig(
            global_config=optimize.OpMagnitudePrunerConfig(target_sparsity=0.75, weight_threshold=64)
        )
        pruned = optimize.prune_weights(model, config)
    assert isinstance(pruned, coremltools.models.MLModel)
    write_package(pruned, tmp_path / "m.mlpackage", {})
    session = MilSession(tmp_path / "m.mlpackage")
    assert "constexpr_sparse_to_dense" in {item.type for item in walk(session.function.block)}
    x = small(2, 64)
    limit = np.sort(np.abs(weight).reshape(-1))[int(weight.size * 0.75)]
    kept = np.where(np.abs(weight) >= limit, weight, 0)
    (made,) = session.run({"x": x}).values()
    np.testing.assert_allclose(made, x @ kept.T, rtol=1e-4, atol=1e-4)


def _linear_program(weight: np.ndarray) -> tuple[Any, int]:
    from coremltools.converters.mil.mil import Builder, Function, Program, types

    from edgekit.targets.coreml.write_program import opset_of

    mb: Any = Builder
    with quiet():
        program = Program()
        holder = mb.placeholder(shape=(2, weight.shape[1]), dtype=types.fp32)
        with Function({"x": holder}, opset_version=opset_of(18)) as function:
            function.set_outputs([mb.linear(x=function.inputs["x"], weight=weight)])
        program.add_function("main", function)
    return program, 18
