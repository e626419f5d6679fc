"""A small seeded transformer encoder, as exporters write one."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

TOKENS, WIDTH, HEADS, INNER = 24, 32, 4, 64


class _Writer:
    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, np.ndarray] = {
            "split": np.array([1, TOKENS, HEADS, WIDTH // HEADS]),
            "merge": np.array([1, TOKENS, WIDTH]),
            "root": np.array(np.sqrt(WIDTH / HEADS), np.float32),
            "half": np.array(0.5, np.float32),
            "one": np.array(1, np.float32),
            "sqrt2": np.array(np.sqrt(2), np.float32),
        }

    def op(self, op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, inputs, [output], output, **attributes))
        return output

    def weight(self, name: str, *shape: int, spread: float, mean: float = 0) -> str:
        self.weights[name] = (self.rng.standard_normal(shape) * spread + mean).astype(np.float32)
        return name

    def linear(self, x: str, name: str, inner: int, outer: int) -> str:
        product = self.op(
            "MatMul", [x, self.weight(f"{name}.w", inner, outer, spread=inner**-0.5)], f"{name}.m"
        )
        return self.op("Add", [product, self.weight(f"{name}.b", outer, spread=0.1)], name)

    def norm(self, x: str, name: str) -> str:
        scale = self.weight(f"{name}.g", WIDTH, spread=0.2, mean=1)
        shift = self.weight(f"{name}.h", WIDTH, spread=0.1)
        return self.op("LayerNormalization", [x, scale, shift], name, axis=-1, epsilon=1e-5)

    def head(self, x: str, name: str, order: list[int]) -> str:
        apart = self.op("Reshape", [self.linear(x, name, WIDTH, WIDTH), "split"], f"{name}.r")
        return self.op("Transpose", [apart], f"{name}.t", perm=order)

    def attention(self, x: str, name: str) -> str:
        query, value = (self.head(x, f"{name}{kind}", [0, 2, 1, 3]) for kind in "qv")
        key = self.head(x, f"{name}k", [0, 2, 3, 1])
        scaled = self.op("Div", [self.op("MatMul", [query, key], f"{name}qk"), "root"], f"{name}scaled")
        mixed = self.op("MatMul", [self.op("Softmax", [scaled], f"{name}p", axis=-1), value], f"{name}mixed")
        together = self.op(
            "Reshape", [self.op("Transpose", [mixed], f"{name}mt", perm=[0, 2, 1, 3]), "merge"], f"{name}c"
        )
        return self.linear(together, f"{name}o", WIDTH, WIDTH)

    def gelu(self, x: str, name: str) -> str:
        grown = self.op("Erf", [self.op("Div", [x, "sqrt2"], f"{name}d")], f"{name}e")
        gated = self.op("Mul", [x, self.op("Add", [grown, "one"], f"{name}g")], f"{name}x")
        return self.op("Mul", [gated, "half"], name)


def encoder(layers: int = 2, seed: int = 0) -> onnx.ModelProto:
    """x [1, 24, 32] -> pre-norm blocks of attention and Gelu -> mean -> Gemm -> y [1, 10]."""
    w = _Writer(seed)
    x = w.linear("x", "embed", WIDTH, WIDTH)
    for layer in range(layers):
        at = f"l{layer}."
        x = w.op("Add", [x, w.attention(w.norm(x, f"{at}n1"), at)], f"{at}mid")
        grown = w.gelu(w.linear(w.norm(x, f"{at}n2"), f"{at}f1", WIDTH, INNER), f"{at}gelu")
        x = w.op("Add", [x, w.linear(grown, f"{at}f2", INNER, WIDTH)], f"{at}end")
    mean = w.op("ReduceMean", [w.norm(x, "last")], "mean", axes=[1], keepdims=0)
    w.op("Gemm", [mean, w.weight("head.w", WIDTH, 10, spread=0.2), w.weight("head.b", 10, spread=0.1)], "y")
    graph = helper.make_graph(
        w.nodes,
        "encoder",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, TOKENS, WIDTH])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 10])],
        [numpy_helper.from_array(array, name) for name, array in w.weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
