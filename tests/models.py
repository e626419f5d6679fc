"""Models that tests share: the real ones that lie inside packages, and small seeded ones made here."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import onnx_ir as ir

    Feeds = dict[str, np.ndarray]

# name -> (package, path inside it)
PACKAGE_MODELS = {
    "ppocr-det": ("rapidocr_onnxruntime", "models/ch_PP-OCRv4_det_infer.onnx"),
    "ppocr-rec": ("rapidocr_onnxruntime", "models/ch_PP-OCRv4_rec_infer.onnx"),
    "ppocr-cls": ("rapidocr_onnxruntime", "models/ch_ppocr_mobile_v2.0_cls_infer.onnx"),
    "magika": ("magika", "models/standard_v3_3/model.onnx"),
    "basic-pitch": ("basic_pitch", "saved_models/icassp_2022/nmp.onnx"),
    "silero": ("silero_vad", "data/silero_vad.onnx"),
    "silero-16k-op15": ("silero_vad", "data/silero_vad_16k_op15.onnx"),
    "silero-16k-sequence": ("silero_vad", "data/silero_vad_16k_sequence.onnx"),
    "silero-half": ("silero_vad", "data/silero_vad_half.onnx"),
    "silero-ifless": ("silero_vad", "data/silero_vad_op18_ifless.onnx"),
    "silero-openvino-16k": ("silero_vad", "data/silero_vad_openvino_16k.onnx"),
}

# A shape for each input that is quick to run and that the model accepts.
QUICK_SHAPES: dict[str, dict[str, tuple[int, ...]]] = {
    "ppocr-det": {"x": (1, 3, 96, 128)},
    "ppocr-rec": {"x": (1, 3, 48, 96)},
    "ppocr-cls": {"x": (1, 3, 48, 192)},
    "magika": {"bytes": (2, 2048)},
    "basic-pitch": {"serving_default_input_2:0": (1, 43844, 1)},
    "silero": {"input": (1, 576), "state": (2, 1, 128), "sr": ()},
    "silero-16k-op15": {"input": (1, 576), "state": (2, 1, 128), "sr": ()},
    "silero-16k-sequence": {"input": (3, 576), "h": (1, 1, 128), "c": (1, 1, 128)},
    "silero-half": {"input": (1, 576), "state": (2, 1, 128)},
    "silero-ifless": {"input": (1, 576), "state": (2, 1, 128), "sr": ()},
    "silero-openvino-16k": {"input": (1, 576), "state": (2, 1, 128)},
}


def package_model(name: str) -> Path:
    """Path of a real model inside an installed package; skips, naming the package, where it is missing."""
    package, inside = PACKAGE_MODELS[name]
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        pytest.skip(f"package {package} is not installed")
    return Path(spec.submodule_search_locations[0]) / inside


def random_feeds(shapes: Mapping[str, Sequence[int]], path: Path, *, seed: int = 0) -> Feeds:
    """Seeded inputs of the given shapes, in the dtypes that the ONNX file at `path` declares."""
    rng = np.random.default_rng(seed)
    graph = onnx.load(path, load_external_data=False).graph
    feeds: Feeds = {}
    for value in graph.input:
        if value.name not in shapes:
            continue
        dtype = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        shape = tuple(shapes[value.name])
        if value.name == "sr":
            feeds[value.name] = np.array(16000, dtype)
        elif np.issubdtype(dtype, np.floating):
            feeds[value.name] = rng.standard_normal(shape).astype(dtype) * dtype.type(0.5)
        else:
            feeds[value.name] = rng.integers(0, 256, shape).astype(dtype)
    return feeds


def run_onnx(model: Path | bytes | onnx.ModelProto | ir.Model, feeds: Feeds) -> dict[str, np.ndarray]:
    """What plain ONNX Runtime (no graph optimization) computes: the truth that passes are held to."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    if isinstance(model, onnx.ModelProto):
        model = model.SerializeToString()
    elif not isinstance(model, (bytes, Path)):
        from edgekit.passes.serialize_model import serialize_model

        model = serialize_model(model)
    session = ort.InferenceSession(
        str(model) if isinstance(model, Path) else model, options, providers=["CPUExecutionProvider"]
    )
    taken = {value.name for value in session.get_inputs()}
    names = [value.name for value in session.get_outputs()]
    results = session.run(names, {name: array for name, array in feeds.items() if name in taken})
    return {name: np.asarray(result) for name, result in zip(names, results, strict=True)}


def assert_same_outputs(
    got: Mapping[str, np.ndarray],
    want: Mapping[str, np.ndarray],
    *,
    rtol: float = 1e-3,
    atol: float = 1e-5,
) -> None:
    """Same output names, dtypes and shapes, and values within rtol/atol."""
    assert list(got) == list(want)
    for name, expected in want.items():
        assert got[name].dtype == expected.dtype, name
        assert got[name].shape == expected.shape, name
        np.testing.assert_allclose(got[name], expected, rtol=rtol, atol=atol, err_msg=name)


def toy_cnn(*, batch: int | str = 1, seed: int = 0, opset: int = 17) -> onnx.ModelProto:
    """Conv+BN+Relu, depthwise Conv+BN+Clip, residual Add, MaxPool, GAP, Gemm, Softmax; x [N,3,16,16]."""
    rng = np.random.default_rng(seed)

    def normal(*shape: int) -> np.ndarray:
        return (rng.standard_normal(shape) * 0.3).astype(np.float32)

    def batchnorm(prefix: str, channels: int) -> dict[str, np.ndarray]:
        return {
            f"{prefix}.scale": rng.uniform(0.5, 1.5, channels).astype(np.float32),
            f"{prefix}.bias": normal(channels),
            f"{prefix}.mean": normal(channels),
            f"{prefix}.var": rng.uniform(0.5, 1.5, channels).astype(np.float32),
        }

    weights = {
        "conv1.w": normal(8, 3, 3, 3),
        "conv2.w": normal(8, 1, 3, 3),
        "conv2.b": normal(8),
        "fc.w": normal(10, 8),
        "fc.b": normal(10),
        "lo": np.array(0, np.float32),
        "hi": np.array(6, np.float32),
    }
    weights |= batchnorm("bn1", 8) | batchnorm("bn2", 8)
    node = helper.make_node
    nodes = [
        node("Conv", ["x", "conv1.w"], ["c1"], "conv1", pads=[1, 1, 1, 1]),
        node("BatchNormalization", ["c1", "bn1.scale", "bn1.bias", "bn1.mean", "bn1.var"], ["b1"], "bn1"),
        node("Relu", ["b1"], ["r1"], "relu1"),
        node("Conv", ["r1", "conv2.w", "conv2.b"], ["c2"], "conv2", pads=[1, 1, 1, 1], group=8),
        node("BatchNormalization", ["c2", "bn2.scale", "bn2.bias", "bn2.mean", "bn2.var"], ["b2"], "bn2"),
        node("Clip", ["b2", "lo", "hi"], ["r2"], "clip2"),
        node("Add", ["r1", "r2"], ["s"], "add"),
        node("MaxPool", ["s"], ["p"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
        node("GlobalAveragePool", ["p"], ["g"], "gap"),
        node("Flatten", ["g"], ["f"], "flatten"),
        node("Gemm", ["f", "fc.w", "fc.b"], ["logits"], "fc", transB=1),
        node("Softmax", ["logits"], ["y"], "softmax", axis=1),
    ]
    return _model(nodes, {"x": (batch, 3, 16, 16)}, {"y": (batch, 10)}, weights, opset=opset)


def toy_lstm(*, seed: int = 0, opset: int = 17) -> onnx.ModelProto:
    """A bidirectional LSTM and a MatMul head: x [T=5, N=2, 4] -> y [5, 2, 3]."""
    rng = np.random.default_rng(seed)
    hidden = 6
    weights: Feeds = {
        "w": (rng.standard_normal((2, 4 * hidden, 4)) * 0.4).astype(np.float32),
        "r": (rng.standard_normal((2, 4 * hidden, hidden)) * 0.4).astype(np.float32),
        "b": (rng.standard_normal((2, 8 * hidden)) * 0.1).astype(np.float32),
        "head": rng.standard_normal((2 * hidden, 3)).astype(np.float32),
        "flat": np.array([5, 2, 2 * hidden], np.int64),
    }
    nodes = [
        helper.make_node(
            "LSTM", ["x", "w", "r", "b"], ["h"], "lstm", hidden_size=hidden, direction="bidirectional"
        ),
        helper.make_node("Transpose", ["h"], ["t"], "swap", perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", ["t", "flat"], ["m"], "merge"),
        helper.make_node("MatMul", ["m", "head"], ["y"], "head"),
    ]
    return _model(nodes, {"x": (5, 2, 4)}, {"y": (5, 2, 3)}, weights, opset=opset)


def toy_attention(*, seed: int = 0, opset: int = 17) -> onnx.ModelProto:
    """One pre-norm self-attention block with a causal -inf mask: x [N=2, T=5, 8] -> y [2, 5, 8]."""
    rng = np.random.default_rng(seed)
    mask = np.triu(np.full((5, 5), -np.inf, np.float32), 1)
    weights: Feeds = {
        "ln.scale": rng.uniform(0.5, 1.5, 8).astype(np.float32),
        "ln.bias": rng.standard_normal(8).astype(np.float32),
        "mask": mask,
        "root": np.array(np.sqrt(8.0), np.float32),
    }
    for name in ("q", "k", "v", "o"):
        weights[name] = (rng.standard_normal((8, 8)) * 0.5).astype(np.float32)
    node = helper.make_node
    nodes = [
        node("LayerNormalization", ["x", "ln.scale", "ln.bias"], ["n"], "ln", axis=-1, epsilon=1e-5),
        node("MatMul", ["n", "q"], ["nq"], "query"),
        node("MatMul", ["n", "k"], ["nk"], "key"),
        node("MatMul", ["n", "v"], ["nv"], "value"),
        node("Transpose", ["nk"], ["kt"], "swap", perm=[0, 2, 1]),
        node("MatMul", ["nq", "kt"], ["raw"], "scores"),
        node("Div", ["raw", "root"], ["scaled"], "scale"),
        node("Add", ["scaled", "mask"], ["masked"], "mask_scores"),
        node("Softmax", ["masked"], ["p"], "softmax", axis=-1),
        node("MatMul", ["p", "nv"], ["c"], "context"),
        node("MatMul", ["c", "o"], ["proj"], "out"),
        node("Add", ["x", "proj"], ["y"], "residual"),
    ]
    return _model(nodes, {"x": (2, 5, 8)}, {"y": (2, 5, 8)}, weights, opset=opset)


def _model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Sequence[int | str]],
    outputs: Mapping[str, Sequence[int | str]],
    weights: Mapping[str, np.ndarray],
    *,
    opset: int,
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


TOYS = {"toy-cnn": toy_cnn, "toy-lstm": toy_lstm, "toy-attention": toy_attention}
