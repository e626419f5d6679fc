"""Weights that are drawn when they are read: one model in every component, and no file of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest

import edgekit
from edgekit._verify import PiecewiseSession
from edgekit.errors import SourceError
from edgekit.sources.drawn_weights import DrawnTensor
from edgekit.sources.onnx_file import load_onnx
from edgekit.sources.shape_only import SEED, ShapeOnlyTensor
from tests.sources import hf_models

if TYPE_CHECKING:
    from pathlib import Path

PROMPT, ROOM = 5, 16


def drawn(shape: tuple[int, ...], number: int = 3, seed: int = 1) -> np.ndarray:
    return DrawnTensor(ShapeOnlyTensor("w", ir.DataType.FLOAT, shape, number), seed).numpy()


def test_a_weight_is_the_same_each_time_and_its_transpose_is_the_transposed() -> None:
    np.testing.assert_array_equal(drawn((300, 40)), drawn((300, 40)))
    np.testing.assert_array_equal(drawn((300, 40)).T, drawn((40, 300)))
    assert not np.array_equal(drawn((300, 40)), drawn((300, 40), number=4))
    assert not np.array_equal(drawn((300, 40)), drawn((300, 40), seed=2))


def test_numbers_are_normal_ones_that_bfloat16_holds() -> None:
    matrix, vector = drawn((700, 700)), drawn((5000,))
    assert abs(float(matrix.std()) - 0.02) < 1e-3
    assert abs(float(matrix.mean())) < 1e-3
    assert abs(float(vector.mean()) - 1) < 1e-2
    for array in (matrix, vector):
        assert not np.any(np.ascontiguousarray(array).view(np.uint32) & 0xFFFF)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A decoder of random weights converted for a target whose files ONNX Runtime runs as they are."""
    place = tmp_path_factory.mktemp("drawn")
    config = hf_models.qwen3().config
    config.architectures = ["Qwen3ForCausalLM"]
    config.save_pretrained(place / "config")
    source = edgekit.export(place / "config", place / "source", random_weights=12)
    result = edgekit.convert(
        source,
        targets=("tensorrt", "ort-mobile"),
        precisions=("fp32", "w4"),
        shapes=(f"prompt={PROMPT}", f"past={ROOM}"),
        output=place / "out",
        cache="off",
    )
    assert result.passed
    return place


def test_no_weight_lies_in_the_source_and_all_do_in_the_bundle(made: Path) -> None:
    assert sum(path.stat().st_size for path in (made / "source").iterdir()) < 100_000
    path = made / "out/generic-tensorrt/decode.fp32.onnx"
    held = [onnx.numpy_helper.to_array(one, str(path.parent)) for one in onnx.load(path).graph.initializer]
    table = next(array for array in held if array.shape == (hf_models.VOCABULARY, 64))
    head = next(array for array in held if array.shape == (64, hf_models.VOCABULARY))
    np.testing.assert_array_equal(head, table.T)  # as tied as they were


def test_prefill_and_decode_are_one_model(made: Path) -> None:
    """A prompt read token by token ends in the logits and the cache that prefill gives for it."""
    folder = made / "out/generic-tensorrt"
    prefill, decode = (
        ort.InferenceSession(str(folder / f"{name}.fp32.onnx"), providers=["CPUExecutionProvider"])
        for name in ("prefill", "decode")
    )
    names = [value.name for value in prefill.get_outputs()]
    ids = np.array([hf_models.tokens(PROMPT)], np.int64)
    feeds = {"input_ids": ids, "position_ids": np.arange(PROMPT)[None], "last": np.array([PROMPT - 1])}
    want = dict(zip(names, map(np.asarray, prefill.run(names, feeds)), strict=True))
    shapes = {value.name: value.shape for value in decode.get_inputs() if value.name.startswith("past_")}
    cache = {name: np.zeros(shape, np.float32) for name, shape in shapes.items() if name != "past_length"}
    out = want
    for place in range(PROMPT):
        step = {
            "input_ids": ids[:, place : place + 1],
            "position_ids": np.array([[place]]),
            "past_length": np.array([place]),
        }
        out = dict(zip(names, map(np.asarray, decode.run(names, {**step, **cache})), strict=True))
        for name, array in cache.items():
            array[:, :, place] = out[name.replace("past", "new")][:, :, 0]
    np.testing.assert_allclose(out["logits"], want["logits"], atol=1e-5)
    for name, array in cache.items():
        np.testing.assert_allclose(array[:, :, :PROMPT], want[name.replace("past", "new")], atol=1e-5)
    assert float(want["logits"].std()) > 0.01


def test_a_seed_that_is_no_number_is_refused(made: Path) -> None:
    model = onnx.load(made / "source/decode.onnx", load_external_data=False)
    (entry,) = [one for one in model.metadata_props if one.key == SEED]
    entry.value = "../x"
    path = made / "spoiled.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(SourceError, match="no seed"):
        load_onnx(path)


@pytest.mark.parametrize("piece_bytes", [1, 10**9])
def test_pieces_of_a_model_run_on_drawn_weights_large_and_small(piece_bytes: int) -> None:
    x = ir.val("x", dtype=ir.DataType.FLOAT, shape=ir.Shape([2, 64]))
    matrix, vector = (
        ir.val(name, const_value=DrawnTensor(ShapeOnlyTensor(name, ir.DataType.FLOAT, shape, number), 1))
        for number, (name, shape) in enumerate({"matrix": (64, 64), "vector": (64,)}.items())
    )
    product = ir.node("MatMul", [x, matrix], name="product")
    scaled = ir.node("Mul", [product.outputs[0], vector], name="scaled")
    scaled.outputs[0].name = "y"
    graph = ir.Graph(
        [x],
        scaled.outputs,
        nodes=[product, scaled],
        initializers=[matrix, vector],
        opset_imports={"": 17},
        name="g",
    )
    feeds = {"x": np.random.default_rng(1).standard_normal((2, 64)).astype(np.float32)}
    expected = feeds["x"] @ drawn((64, 64), number=0) * drawn((64,), number=1)
    got = PiecewiseSession(ir.Model(graph, ir_version=8), piece_bytes=piece_bytes).run(feeds)
    np.testing.assert_allclose(got["y"], expected, rtol=1e-4, atol=1e-5)
