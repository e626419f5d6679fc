"""The MIL interpreter alone: programs of coremltools' Builder, held to ONNX Runtime and to Apple's words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime as ort
import pytest
from onnx import helper, numpy_helper

from edgekit.errors import BundleError, CannotRunHere, SamplesError
from edgekit.targets.coreml.interpret import MilSession
from edgekit.targets.coreml.write_package import lower_program, quiet, write_package
from tests.models import package_model, run_onnx

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Make = Callable[[Any, dict[str, Any]], Any]

RNG = np.random.default_rng(17)


def small(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def session_of(make: Make, inputs: dict[str, np.ndarray], out: Path, level: int = 17) -> MilSession:
    """`make(mb, variables)` gives the outputs of a program over these inputs."""
    from coremltools.converters.mil.mil import Builder, Function, Program, types

    from edgekit.targets.coreml.write_program import opset_of

    builder: Any = Builder
    kinds = {"f": types.fp32, "i": types.int32}
    with quiet():
        program = Program()
        holders = {
            name: builder.placeholder(shape=array.shape, dtype=kinds[array.dtype.kind])
            for name, array in inputs.items()
        }
        with Function(holders, opset_version=opset_of(level)) as function:
            made = make(builder, dict(function.inputs))
            function.set_outputs(list(made) if isinstance(made, tuple | list) else [made])
        program.add_function("main", function)
    write_package(lower_program(program, level, "fp32"), out / "m.mlpackage", {})
    return MilSession(out / "m.mlpackage")


def evaluate(make: Make, inputs: dict[str, np.ndarray], out: Path, level: int = 17) -> list[np.ndarray]:
    session = session_of(make, inputs, out, level)
    made = session.run(inputs)
    return [made[item.name] for item in session.outputs]


def by_onnx(
    op: str, inputs: list[np.ndarray | None], results: int = 1, **attributes: Any
) -> list[np.ndarray]:
    """The same operation as ONNX Runtime computes it; the first input is fed, the others are weights."""
    names = ["" if item is None else f"i{index}" for index, item in enumerate(inputs)]
    outputs = [f"o{index}" for index in range(results)]
    node = helper.make_node(op, names, outputs, **attributes)
    first, *rest = [(name, item) for name, item in zip(names, inputs, strict=True) if item is not None]
    weights = [numpy_helper.from_array(item, name) for name, item in rest]
    kind = helper.np_dtype_to_tensor_dtype(first[1].dtype)
    info = helper.make_tensor_value_info(first[0], kind, first[1].shape)
    ends = [helper.make_empty_tensor_value_info(name) for name in outputs]
    graph = helper.make_graph([node], "g", [info], ends, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    made: Any = ort.InferenceSession(model.SerializeToString()).run(None, {first[0]: first[1]})
    return list(made)


X, X1 = small(1, 4, 7, 9), small(2, 8, 6, 6)
POOL: dict[str, Any] = {"kernel_sizes": [3, 2], "strides": [2, 2], "pad_type": "custom", "pad": [1, 1, 0, 1]}
ONNX_POOL: dict[str, Any] = {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 0, 1, 1]}
PLACES = np.array([[2, 0, 1], [1, 1, 0]], np.int32)
GRID = RNG.uniform(-1.2, 1.2, (1, 5, 6, 2)).astype(np.float32)

# name -> (MIL, the input, what ONNX Runtime says of the same)
CASES: dict[str, tuple[Make, np.ndarray, Callable[[], list[np.ndarray]]]] = {
    "max_pool": (
        lambda mb, v: mb.max_pool(x=v["x"], **POOL),
        X,
        lambda: by_onnx("MaxPool", [X], **ONNX_POOL),
    ),
    "avg_pool with pads": (
        lambda mb, v: mb.avg_pool(x=v["x"], **POOL),
        X,
        lambda: by_onnx("AveragePool", [X], count_include_pad=1, **ONNX_POOL),
    ),
    "avg_pool without pads": (
        lambda mb, v: mb.avg_pool(x=v["x"], exclude_padding_from_average=True, **POOL),
        X,
        lambda: by_onnx("AveragePool", [X], **ONNX_POOL),
    ),
    "matmul of batches": (
        lambda mb, v: mb.matmul(x=v["x"], y=X[:, :1], transpose_y=True),
        X,
        lambda: by_onnx("MatMul", [X, np.swapaxes(X[:, :1], -1, -2).copy()]),
    ),
    "depth_to_space": (
        lambda mb, v: mb.depth_to_space(x=v["x"], block_size=2),
        X1,
        lambda: by_onnx("DepthToSpace", [X1], blocksize=2, mode="DCR"),
    ),
    "pixel_shuffle": (
        lambda mb, v: mb.pixel_shuffle(x=v["x"], upscale_factor=2),
        X1,
        lambda: by_onnx("DepthToSpace", [X1], blocksize=2, mode="CRD"),
    ),
    "space_to_depth": (
        lambda mb, v: mb.space_to_depth(x=v["x"], block_size=3),
        X1,
        lambda: by_onnx("SpaceToDepth", [X1], blocksize=3),
    ),
    "resample": (
        lambda mb, v: mb.resample(
            x=v["x"], coordinates=GRID, sampling_mode="bilinear", padding_mode="constant", padding_value=0.0,
            coordinates_mode="normalized_minus_one_to_one", align_corners=False,
        ),
        X,
        lambda: by_onnx("GridSample", [X, GRID], align_corners=0),
    ),
    "resample at the border, corners aligned": (
        lambda mb, v: mb.resample(
            x=v["x"], coordinates=GRID, sampling_mode="bilinear", padding_mode="border", padding_value=0.0,
            coordinates_mode="normalized_minus_one_to_one", align_corners=True,
        ),
        X,
        lambda: by_onnx("GridSample", [X, GRID], align_corners=1, padding_mode="border"),
    ),
    "gather": (
        lambda mb, v: mb.gather(x=v["x"], indices=PLACES, axis=2, batch_dims=0),
        X,
        lambda: by_onnx("Gather", [X, PLACES], axis=2),
    ),
    "topk": (
        lambda mb, v: mb.topk(x=v["x"], k=3, axis=2),
        X,
        lambda: by_onnx("TopK", [X, np.array([3])], 2, axis=2),
    ),
    "scatter_nd": (
        lambda mb, v: mb.scatter_nd(
            data=v["x"], indices=np.array([[0, 1], [0, 3]], np.int32), updates=X[0, :2] * 2, mode="update"
        ),
        X,
        lambda: by_onnx("ScatterND", [X, np.array([[0, 1], [0, 3]]), X[0, :2] * 2]),
    ),
    "upsample_nearest_neighbor": (
        lambda mb, v: mb.upsample_nearest_neighbor(
            x=v["x"], scale_factor_height=2.0, scale_factor_width=3.0
        ),
        X,
        lambda: by_onnx("Resize", [X, None, np.array([1, 1, 2, 3], np.float32)], mode="nearest"),
    ),
    "upsample_bilinear": (
        lambda mb, v: mb.upsample_bilinear(
            x=v["x"], scale_factor_height=2.0, scale_factor_width=3.0, align_corners=False
        ),
        X,
        lambda: by_onnx("Resize", [X, None, np.array([1, 1, 2, 3], np.float32)], mode="linear"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_an_operation_computes_what_onnx_runtime_computes(name: str, tmp_path: Path) -> None:
    make, x, expected = CASES[name]
    got = evaluate(make, {"x": x}, tmp_path)
    for mine, truth in zip(got, expected(), strict=True):
        np.testing.assert_allclose(mine, truth, rtol=1e-5, atol=1e-5)


# Grid points of [0, 1] resized to 5 and 6, as coremltools' documentation of resize_bilinear lists them.
GRIDS = {
    ("UNALIGN_CORNERS", 5): [0.0, 0.1, 0.5, 0.9, 1.0],
    ("STRICT_ALIGN_CORNERS", 5): [0.0, 0.25, 0.5, 0.75, 1.0],
    ("DEFAULT", 5): [0.0, 0.4, 0.8, 1.0, 1.0],
    ("OFFSET_CORNERS", 5): [0.1, 0.3, 0.5, 0.7, 0.9],
    ("UNALIGN_CORNERS", 6): [0.0, 0.0, 0.33, 0.67, 1.0, 1.0],
    ("STRICT_ALIGN_CORNERS", 6): [0.0, 0.2, 0.4, 0.6, 0.8, 1.0],
    ("DEFAULT", 6): [0.0, 0.33, 0.67, 1.0, 1.0, 1.0],
    ("OFFSET_CORNERS", 6): [0.08, 0.25, 0.42, 0.58, 0.75, 0.92],
}


@pytest.mark.parametrize(("mode", "size"), GRIDS)
def test_resize_bilinear_samples_where_apples_documentation_says(
    mode: str, size: int, tmp_path: Path
) -> None:
    x = np.array([0, 1], np.float32).reshape(1, 1, 1, 2)
    (got,) = evaluate(
        lambda mb, v: mb.resize_bilinear(
            x=v["x"], target_size_height=1, target_size_width=size, sampling_mode=mode
        ),
        {"x": x},
        tmp_path,
    )
    np.testing.assert_allclose(got.reshape(-1), GRIDS[mode, size], atol=5e-3)


@pytest.mark.parametrize("ways", [1, 2])
def test_lstm_is_onnx_runtimes_with_the_gates_in_mils_order(ways: int, tmp_path: Path) -> None:
    hidden, width = 5, 3
    x, w, r = small(4, 2, width), small(ways, 4 * hidden, width), small(ways, 4 * hidden, hidden)
    b, h, c = small(ways, 8 * hidden), small(ways, 2, hidden), small(ways, 2, hidden)
    direction = "bidirectional" if ways == 2 else "forward"
    y, y_h, y_c = by_onnx("LSTM", [x, w, r, b, None, h, c], 3, hidden_size=hidden, direction=direction)

    def ordered(rows: np.ndarray) -> np.ndarray:
        i, o, f, z = np.split(rows, 4)
        return np.concatenate([i, f, o, z])

    def make(mb: Any, v: dict[str, Any]) -> Any:
        weights = {
            f"{key}{suffix}": value
            for way, suffix in zip(range(ways), ("", "_back"), strict=False)
            for key, value in (
                ("weight_ih", ordered(w[way])),
                ("weight_hh", ordered(r[way])),
                ("bias", ordered(b[way, : 4 * hidden] + b[way, 4 * hidden :])),
            )
        }
        return mb.lstm(
            x=v["x"],
            initial_h=np.concatenate(list(h), -1),
            initial_c=np.concatenate(list(c), -1),
            direction=direction,
            output_sequence=True,
            **weights,
        )

    got = evaluate(make, {"x": x}, tmp_path)
    np.testing.assert_allclose(got[0], y.transpose(0, 2, 1, 3).reshape(4, 2, -1), atol=1e-5)
    np.testing.assert_allclose(got[1], np.concatenate(list(y_h), -1), atol=1e-5)
    np.testing.assert_allclose(got[2], np.concatenate(list(y_c), -1), atol=1e-5)


def test_quantize_rounds_to_even_and_saturates_as_onnx_does(tmp_path: Path) -> None:
    x = np.array([-40, -0.375, -0.125, 0.125, 0.375, 31.75, 99], np.float32)
    scale = np.float32(0.25)
    (got,) = evaluate(
        lambda mb, v: mb.dequantize(
            input=mb.quantize(input=v["x"], scale=scale, output_dtype="int8"), scale=scale
        ),
        {"x": x},
        tmp_path,
    )
    (codes,) = by_onnx("QuantizeLinear", [x, np.asarray(scale), np.zeros((), np.int8)])
    np.testing.assert_array_equal(got, codes.astype(np.float32) * scale)


def test_a_foreign_package_is_the_model_it_was_made_from() -> None:
    """basic-pitch's own .mlpackage, made by others from TensorFlow, against its .onnx."""
    model = package_model("basic-pitch")
    session = MilSession(model.parent / "nmp.mlpackage")
    x = small(1, 43844, 1) * np.float32(0.5)
    truth = run_onnx(model, {"serving_default_input_2:0": x})
    got = session.run({session.inputs[0].name: x})
    for mine, source in zip(sorted(got), sorted(truth), strict=True):
        np.testing.assert_allclose(got[mine], truth[source], atol=1e-4)


def test_what_apple_does_not_document_is_not_computed(tmp_path: Path) -> None:
    x = small(1, 1, 4, 4)
    session = session_of(
        lambda mb, v: mb.upsample_nearest_neighbor(x=v["x"], scale_factor_height=1.5, scale_factor_width=1.5),
        {"x": x},
        tmp_path,
    )
    with pytest.raises(CannotRunHere, match="not documented"):
        session.run({"x": x})


def test_feeds_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    session = session_of(lambda mb, v: mb.relu(x=v["x"]), {"x": small(2, 3)}, tmp_path)
    for feeds in (
        {},
        {"x": small(2, 4)},
        {"x": small(2, 3), "y": small(1)},
        {"x": np.zeros((2, 3), np.int32)},
    ):
        with pytest.raises(SamplesError):
            session.run(feeds)


@pytest.mark.parametrize("damage", ["weights", "manifest", "model"])
def test_a_damaged_package_is_named_so(damage: str, tmp_path: Path) -> None:
    session_of(lambda mb, v: mb.matmul(x=v["x"], y=small(8, 8)), {"x": small(2, 8)}, tmp_path)
    folder = tmp_path / "m.mlpackage"
    data = folder / "Data" / "com.apple.CoreML"
    if damage == "weights":
        (data / "weights" / "weight.bin").write_bytes(b"\0" * 64)
    elif damage == "manifest":
        text = (folder / "Manifest.json").read_text(encoding="utf-8")
        (folder / "Manifest.json").write_text(text.replace("com.apple.CoreML/model", "../../x"), "utf-8")
    else:
        (data / "model.mlmodel").write_bytes(b"\xff" * 40)
    with pytest.raises(BundleError):
        MilSession(folder).run({"x": small(2, 8)})
