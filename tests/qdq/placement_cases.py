"""The table of placement cases: a small net each, and where the rules put its Q/DQ."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from tests.qdq.qdq_nets import f32, node, normal

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx

    Shape = tuple[int, ...]


@dataclass(frozen=True)
class Case:
    """A net and what the rules say of it.

    groups: the quantized tensors, those that share one scale in one tuple.
    weights: name -> the axis of its scales (None: one for all).
    biases: name -> (input tensor, weight) whose scales' product it is a multiple of.
    narrowed: tensors in front of an activation; their scale may be a little smaller.
    """

    name: str
    nodes: list[onnx.NodeProto]
    groups: tuple[tuple[str, ...], ...]
    parameters: Mapping[str, np.ndarray] = field(default_factory=dict)
    weights: Mapping[str, int | None] = field(default_factory=dict)
    biases: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    x: Shape = (1, 4, 6, 6)
    outputs: tuple[str, ...] = ("y",)
    opset: int = 17
    narrowed: tuple[str, ...] = ()


W = normal(8, 4, 3, 3, seed=1, reach=0.2)
W1 = normal(4, 4, 1, 1, seed=2, reach=0.4)
B = normal(8, seed=3)
B4 = normal(4, seed=4)
SIX = {"lo": f32(0), "hi": f32(6)}


def conv(source: str, target: str, weight: str = "w1") -> onnx.NodeProto:
    return node("Conv", [source, weight], [target], f"conv_{target}")


CASES = [
    Case(
        "conv-relu: no Q between, the clamped result carries the scale",
        [node("Conv", ["x", "w", "b"], ["c"], pads=[1] * 4), node("Relu", ["c"], ["r"]), conv("r", "y", "v")],
        (("x",), ("r",), ("y",)),
        {"w": W, "b": B, "v": normal(2, 8, 1, 1)},
        {"w": 0, "v": 0},
        {"b": ("x", "w")},
    ),
    Case(
        "conv-clip: as relu",
        [node("Conv", ["x", "w", "b"], ["c"]), node("Clip", ["c", "lo", "hi"], ["r"]), conv("r", "y", "v")],
        (("x",), ("r",), ("y",)),
        {"w": W * 8, "b": B, "v": normal(2, 8, 1, 1), **SIX},
        {"w": 0, "v": 0},
        {"b": ("x", "w")},
    ),
    Case(
        "depthwise: a scale a channel",
        [node("Conv", ["x", "w", "b"], ["y"], group=4, strides=[2, 2], pads=[0, 0, 1, 1])],
        (("x",), ("y",)),
        {"w": normal(4, 1, 3, 3) * f32([1, 0.1, 0.01, 5]).reshape(4, 1, 1, 1), "b": B4},
        {"w": 0},
        {"b": ("x", "w")},
    ),
    Case(
        "1d dilated conv",
        [node("Conv", ["x", "w"], ["y"], dilations=[2])],
        (("x",), ("y",)),
        {"w": normal(3, 4, 3)},
        {"w": 0},
        x=(1, 4, 12),
    ),
    Case(
        "convtranspose: scales along axis 1",
        [node("ConvTranspose", ["x", "w", "b"], ["y"], strides=[2, 2])],
        (("x",), ("y",)),
        {"w": normal(4, 3, 2, 2), "b": normal(3)},
        {"w": 1},
        {"b": ("x", "w")},
    ),
    Case(
        "residual add: scales of their own on every side, relu behind folds in",
        [
            conv("x", "a"),
            conv("a", "c"),
            node("Add", ["a", "c"], ["s"]),
            node("Relu", ["s"], ["r"]),
            conv("r", "y"),
        ],
        (("x",), ("a",), ("c",), ("r",), ("y",)),
        {"w1": W1},
        {"w1": 0},
    ),
    Case(
        "concat: inputs and output share the widest scale",
        [
            conv("x", "a"),
            conv("x", "c", "w2"),
            node("Concat", ["a", "c"], ["s"], axis=1),
            conv("s", "y", "v"),
        ],
        (("x",), ("a", "c", "s"), ("y",)),
        {"w1": W1, "w2": W1 * 5, "v": normal(2, 8, 1, 1)},
        {"w1": 0, "w2": 0, "v": 0},
    ),
    Case(
        "relu behind a concat keeps the group's scale: its input lies on that grid",
        [
            conv("x", "a"),
            conv("x", "c", "w2"),
            node("Concat", ["a", "c"], ["s"], axis=1),
            node("Relu", ["s"], ["r"]),
            conv("r", "y", "v"),
        ],
        (("x",), ("a", "c", "s", "r"), ("y",)),
        {"w1": W1, "w2": W1 * -5, "v": normal(2, 8, 1, 1)},
        {"w1": 0, "w2": 0, "v": 0},
    ),
    Case(
        "maxpool carries its input's scale",
        [node("MaxPool", ["x"], ["p"], kernel_shape=[2, 2], strides=[2, 2]), conv("p", "y")],
        (("x", "p"), ("y",)),
        {"w1": W1},
        {"w1": 0},
    ),
    Case(
        "averagepool has a scale of its own",
        [conv("x", "a"), node("AveragePool", ["a"], ["p"], kernel_shape=[2, 2]), conv("p", "y")],
        (("x",), ("a",), ("p",), ("y",)),
        {"w1": W1},
        {"w1": 0},
    ),
    Case(
        "moving chains keep one scale from end to end",
        [
            conv("x", "a"),
            node("Reshape", ["a", "to"], ["m1"]),
            node("Transpose", ["m1"], ["m2"], perm=[0, 2, 1]),
            node("Slice", ["m2", "begin", "end", "axes"], ["m3"]),
            node("Flatten", ["m3"], ["m4"]),
            node("Gemm", ["m4", "g"], ["y"], "fc"),
        ],
        (("x",), ("a", "m1", "m2", "m3", "m4")),
        {"w1": W1, "to": np.array([1, 4, 36]), "begin": np.array([0]), "end": np.array([5])}
        | {"axes": np.array([1]), "g": normal(20, 3)},
        {"w1": 0, "g": 1},
    ),
    Case(
        "squeeze, unsqueeze, split and gather carry too",
        [
            conv("x", "a"),
            node("Split", ["a", "sizes"], ["s1", "s2"], axis=1),
            node("Gather", ["s1", "rows"], ["g"], axis=2),
            node("Unsqueeze", ["s2", "at"], ["u"]),
            node("Squeeze", ["u", "at"], ["q"]),
            node("Concat", ["g", "q"], ["c"], axis=2),
            conv("c", "y", "v"),
        ],
        (("x",), ("a", "s1", "s2", "g", "u", "q", "c"), ("y",)),
        {"w1": W1, "sizes": np.array([2, 2]), "rows": np.array([0, 5, 5]), "at": np.array([0])}
        | {"v": normal(2, 2, 1, 1)},
        {"w1": 0, "v": 0},
    ),
    Case(
        "zero padding carries",
        [conv("x", "a"), node("Pad", ["a", "pads"], ["p"]), conv("p", "y")],
        (("x",), ("a", "p"), ("y",)),
        {"w1": W1, "pads": np.array([0, 0, 1, 1, 0, 0, 2, 0])},
        {"w1": 0},
    ),
    Case(
        "padding by another number is no picking: it stays float",
        [conv("x", "a"), node("Pad", ["a", "pads", "nine"], ["p"]), conv("p", "y")],
        (("x",), ("a",), ("p",), ("y",)),
        {"w1": W1, "pads": np.array([0, 0, 1, 1, 0, 0, 2, 0]), "nine": f32(9)},
        {"w1": 0},
    ),
    Case(
        "nearest resize picks",
        [conv("x", "a"), node("Resize", ["a", "", "by"], ["u"], mode="nearest"), conv("u", "y")],
        (("x",), ("a", "u"), ("y",)),
        {"w1": W1, "by": f32([1, 1, 2, 2])},
        {"w1": 0},
    ),
    Case(
        "linear resize computes",
        [conv("x", "a"), node("Resize", ["a", "", "by"], ["u"], mode="linear"), conv("u", "y")],
        (("x",), ("a",), ("u",), ("y",)),
        {"w1": W1, "by": f32([1, 1, 2, 2])},
        {"w1": 0},
    ),
    Case(
        "squeeze-and-excite: the gate's Mul has free scales",
        [
            conv("x", "a"),
            node("GlobalAveragePool", ["a"], ["g"]),
            conv("g", "e"),
            node("Sigmoid", ["e"], ["gate"]),
            node("Mul", ["a", "gate"], ["m"]),
            conv("m", "y"),
        ],
        (("x",), ("a",), ("g",), ("e",), ("gate",), ("m",), ("y",)),
        {"w1": W1},
        {"w1": 0},
        narrowed=("e",),
    ),
    Case(
        "SiLU as Sigmoid and Mul: nothing is rounded inside",
        [conv("x", "a"), node("Sigmoid", ["a"], ["s"]), node("Mul", ["a", "s"], ["m"]), conv("m", "y")],
        (("x",), ("a",), ("m",), ("y",)),
        {"w1": W1},
        {"w1": 0},
        narrowed=("a",),
    ),
    Case(
        "hard swish as Add, Clip, Mul, Div",
        [
            conv("x", "a"),
            node("Add", ["a", "three"], ["h1"]),
            node("Clip", ["h1", "lo", "hi"], ["h2"]),
            node("Mul", ["a", "h2"], ["h3"]),
            node("Div", ["h3", "six"], ["h"]),
            conv("h", "y"),
        ],
        (("x",), ("a",), ("h",), ("y",)),
        {"w1": W1, "three": f32(3), "six": f32(6), **SIX},
        {"w1": 0},
        narrowed=("a",),
    ),
    Case(
        "HardSwish as an op",
        [conv("x", "a"), node("HardSwish", ["a"], ["h"]), conv("h", "y")],
        (("x",), ("a",), ("h",), ("y",)),
        {"w1": W1},
        {"w1": 0},
        narrowed=("a",),
    ),
    Case(
        "Gelu by Erf between two Gemms: a Gemm's float output goes straight into the chain",
        [
            node("Gemm", ["x", "g1", "b"], ["a"], "fc1"),
            node("Div", ["a", "root"], ["d"]),
            node("Erf", ["d"], ["e"]),
            node("Add", ["e", "one"], ["p"]),
            node("Mul", ["a", "p"], ["m"]),
            node("Mul", ["m", "half"], ["h"]),
            node("Gemm", ["h", "g2"], ["y"], "fc2", transB=1),
        ],
        (("x",), ("h",)),
        {"g1": normal(6, 8, reach=0.5), "b": B, "g2": normal(3, 8), "root": f32(2**0.5)}
        | {"one": f32(1), "half": f32(0.5)},
        {"g1": 1, "g2": 0},
        {"b": ("x", "g1")},
        x=(2, 6),
    ),
    *(
        Case(
            f"gemm transB={trans} with a bias of shape {list(shape)}",
            [node("Gemm", ["x", "g", "b"], ["y"], "fc", transB=trans)],
            (("x",),),
            {"g": normal(3, 6) if trans else normal(6, 3), "b": normal(*shape, seed=5) + f32(0.7)},
            {"g": 1 - trans},
            {"b": ("x", "g")},
            x=(2, 6),
        )
        for trans in (0, 1)
        for shape in ((3,), (1,), (), (1, 3))
    ),
    Case(
        "a Gemm bias with a row of its own for each sample has no int32 form: the Gemm stays float",
        [node("Gemm", ["x", "g", "b"], ["y"], "fc")],
        (),
        {"g": normal(6, 3), "b": normal(2, 3)},
        x=(2, 6),
    ),
    Case(
        "a Gemm with alpha stays float",
        [node("Gemm", ["x", "g"], ["y"], "fc", alpha=2.0)],
        (),
        {"g": normal(6, 3)},
        x=(2, 6),
    ),
    Case(
        "matmul by a constant matrix: a scale a column",
        [node("MatMul", ["x", "m"], ["y"], "mm")],
        (("x",),),
        {"m": normal(6, 3) * f32([1, 0.1, 7])},
        {"m": 1},
        x=(2, 5, 6),
    ),
    Case(
        "matmul by a constant batch: one scale",
        [node("MatMul", ["x", "m"], ["y"], "mm")],
        (("x",),),
        {"m": normal(2, 6, 3)},
        {"m": None},
        x=(2, 5, 6),
    ),
    Case(
        "matmul by a constant vector: one scale",
        [node("MatMul", ["x", "m"], ["y"], "mm")],
        (("x",),),
        {"m": normal(6)},
        {"m": None},
        x=(2, 5, 6),
    ),
    Case(
        "matmul of two activations",
        [node("Transpose", ["x"], ["t"], perm=[0, 2, 1]), node("MatMul", ["x", "t"], ["y"], "mm")],
        (("x", "t"),),
        x=(2, 5, 6),
    ),
    Case(
        "matmul with the constant on the left stays float",
        [node("MatMul", ["m", "x"], ["y"], "mm")],
        (),
        {"m": normal(3, 5)},
        x=(2, 5, 6),
    ),
    Case(
        "layer normalization and softmax stay float; the MatMuls around them do not",
        [
            node("MatMul", ["x", "m"], ["a"], "mm1"),
            node("LayerNormalization", ["a", "s"], ["n"], "ln"),
            node("MatMul", ["n", "m"], ["c"], "mm2"),
            node("Softmax", ["c"], ["y"], "soft"),
        ],
        (("x",), ("n",)),
        {"m": normal(6, 6), "s": normal(6) + f32(2)},
        {"m": 1},
        x=(2, 5, 6),
    ),
    Case(
        "a tensor that leaves the graph and goes on in int8",
        [conv("x", "a"), conv("a", "y")],
        (("x",), ("a",), ("y",)),
        {"w1": W1},
        {"w1": 0},
        outputs=("a", "y"),
    ),
    Case(
        "one weight read by two convs, one bias too",
        [node("Conv", ["x", "w", "b"], ["a"]), node("Conv", ["a", "w"], ["y"])],
        (("x",), ("a",), ("y",)),
        {"w": W1, "b": B4},
        {"w": 0},
        {"b": ("x", "w")},
    ),
    Case(
        "limits that are computed make Clip no function of one tensor: it stays float",
        [
            conv("x", "a"),
            node("ReduceMax", ["a"], ["top"], keepdims=0),
            node("Clip", ["a", "", "top"], ["r"]),
            conv("r", "y"),
        ],
        (("x",), ("a",), ("r",), ("y",)),
        {"w1": W1},
        {"w1": 0},
    ),
    Case(
        "opset 21",
        [node("Conv", ["x", "w", "b"], ["c"]), node("Relu", ["c"], ["r"]), conv("r", "y", "v")],
        (("x",), ("r",), ("y",)),
        {"w": W, "b": B, "v": normal(2, 8, 1, 1)},
        {"w": 0, "v": 0},
        {"b": ("x", "w")},
        opset=21,
    ),
    Case(
        "Gelu as an op, opset 20",
        [conv("x", "a"), node("Gelu", ["a"], ["h"]), conv("h", "y")],
        (("x",), ("a",), ("h",), ("y",)),
        {"w1": W1},
        {"w1": 0},
        narrowed=("a",),
        opset=20,
    ),
]
