from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit.targets.litert.session import LiteRTSession
from tests.targets.litert_models import build, gaps_of, prepared

if TYPE_CHECKING:
    from pathlib import Path

    from edgekit.targets.litert.session import Kernels

    Feeds = dict[str, np.ndarray]

RNG = np.random.default_rng(3)
BOX = RNG.standard_normal((2, 3, 5)).astype(np.float32)
IMAGE = RNG.standard_normal((1, 4, 6, 5)).astype(np.float32)
SERIES = RNG.standard_normal((5, 2, 3)).astype(np.float32)


def floats(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def ints(*values: Any) -> np.ndarray:
    return np.array(values, np.int64)


def model_of(
    op: str, after: list[int], inputs: list[np.ndarray | None], attributes: dict[str, Any]
) -> onnx.ModelProto:
    """y = op(i0, i1, ...), every operand an input of the graph."""
    given = {f"i{index}": item for index, item in enumerate(inputs) if item is not None}
    names = [f"i{index}" if item is not None else "" for index, item in enumerate(inputs)]
    infos = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(item.dtype), item.shape)
        for name, item in given.items()
    ]
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, after)
    graph = helper.make_graph([helper.make_node(op, names, ["y"], **attributes)], op, infos, [result])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def case(
    op: str, after: list[int], *inputs: np.ndarray | None, other: dict[int, np.ndarray], **attributes: Any
) -> Any:
    """(model, inputs, the same inputs but for those in `other`)."""
    second = [other.get(index, item) for index, item in enumerate(inputs)]
    name = "-".join([op, *map(str, attributes.values())])
    return pytest.param(model_of(op, after, list(inputs), attributes), list(inputs), second, id=name)


CASES = [
    case(
        "GatherElements",
        [2, 2, 5],
        BOX,
        RNG.integers(-3, 3, (2, 2, 5)),
        other={1: np.zeros((2, 2, 5), np.int64)},
        axis=1,
    ),
    case("GatherND", [2, 5], BOX, ints([0, -1], [1, 0]), other={1: ints([1, 1], [1, 2])}),
    case("GatherND", [2, 5], BOX, ints([2], [-3]), other={1: ints([1], [1])}, batch_dims=1),
    case(
        "ScatterElements", [2, 3, 5], BOX, ints([[0, 2]]), floats(1, 1, 2), other={1: ints([[-1, 1]])}, axis=2
    ),
    case(
        "ScatterElements",
        [2, 3, 5],
        BOX,
        ints([[1, 1]]),
        floats(1, 1, 2),
        other={1: ints([[4, 4]])},
        axis=2,
        reduction="add",
    ),
    case(
        "ScatterElements",
        [2, 3, 5],
        BOX,
        ints([[1, 1]]),
        floats(1, 1, 2),
        other={1: ints([[4, 0]])},
        axis=2,
        reduction="mul",
    ),
    case("ScatterND", [2, 3, 5], BOX, ints([0, 2], [1, 1]), floats(2, 5), other={1: ints([1, 0], [0, -1])}),
    case(
        "ScatterND",
        [2, 3, 5],
        BOX,
        ints([1], [1]),
        floats(2, 3, 5),
        other={1: ints([0], [1])},
        reduction="max",
    ),
    case(
        "Slice",
        [2, 2, 2],
        BOX,
        ints(0, 4),
        ints(2, 0),
        ints(1, 2),
        ints(1, -2),
        other={1: ints(1, 2**62), 2: ints(3, 0)},
    ),
    case("Slice", [2, 2, 5], BOX, ints(0), ints(2), ints(1), other={1: ints(-2), 2: ints(3)}),
    case("Pad", [4, 3, 8], BOX, ints(1, 0, 2, 1, 0, 1), other={1: ints(0, 0, 3, 2, 0, 0)}),
    case("Pad", [2, 3, 9], BOX, ints(1, 3), None, ints(2), other={1: ints(4, 0)}, mode="reflect"),
    case("Pad", [2, 5, 5], BOX, ints(0, 2), None, ints(1), other={1: ints(1, 1)}, mode="edge"),
    case(
        "Compress",
        [2, 2, 5],
        BOX,
        np.array([True, False, True]),
        other={1: np.array([False, True, True])},
        axis=1,
    ),
    case(
        "Range",
        [4],
        np.array(1, np.float32),
        np.array(2.9, np.float32),
        np.array(0.5, np.float32),
        other={0: np.array(-1, np.float32), 1: np.array(6, np.float32), 2: np.array(2, np.float32)},
    ),
    case("ReverseSequence", [5, 2, 3], SERIES, ints(5, 2), other={1: ints(1, 4)}, time_axis=0, batch_axis=1),
    case(
        "Conv",
        [1, 3, 5, 4],
        IMAGE,
        floats(3, 4, 2, 2),
        floats(3),
        other={1: floats(3, 4, 2, 2), 2: floats(3)},
    ),
    case(
        "Conv",
        [1, 4, 6, 5],
        IMAGE,
        floats(4, 1, 3, 3),
        other={1: floats(4, 1, 3, 3)},
        group=4,
        pads=[1, 1, 1, 1],
    ),
    case("Conv", [2, 4, 4], BOX, floats(4, 3, 2), other={1: floats(4, 3, 2)}),
    case(
        "ConvTranspose",
        [1, 6, 13, 11],
        IMAGE,
        floats(4, 3, 3, 3),
        floats(6),
        other={1: floats(4, 3, 3, 3)},
        group=2,
        strides=[2, 2],
    ),
    case(
        "BatchNormalization",
        [1, 4, 6, 5],
        IMAGE,
        floats(4),
        floats(4),
        floats(4),
        np.abs(floats(4)),
        other={1: floats(4), 3: floats(4)},
    ),
    case(
        "LSTM",
        [5, 2, 2, 4],
        SERIES,
        floats(2, 16, 3),
        floats(2, 16, 4),
        floats(2, 32),
        np.array([5, 3], np.int32),
        other={1: floats(2, 16, 3), 4: np.array([2, 4], np.int32)},
        hidden_size=4,
        direction="bidirectional",
    ),
    case(
        "GRU",
        [5, 2, 2, 4],
        SERIES,
        floats(2, 12, 3),
        floats(2, 12, 4),
        floats(2, 24),
        np.array([1, 5], np.int32),
        other={2: floats(2, 12, 4), 4: np.array([4, 4], np.int32)},
        hidden_size=4,
        direction="bidirectional",
        linear_before_reset=1,
    ),
    case(
        "GRU",
        [5, 1, 2, 4],
        SERIES,
        floats(1, 12, 3),
        floats(1, 12, 4),
        None,
        np.array([1, 5], np.int32),
        other={4: np.array([3, 2], np.int32)},
        hidden_size=4,
        direction="reverse",
    ),
    case(
        "OneHot",
        [3, 4],
        ints(0, -1, 7),
        np.array(4, np.int64),
        np.array([0, 2], np.float32),
        other={0: ints(3, 1, 2), 2: np.array([-1, 5], np.float32)},
    ),
    case("Det", [2], floats(2, 4, 4), other={0: floats(2, 4, 4)}),
]


def feeds_of(inputs: list[np.ndarray | None]) -> Feeds:
    return {f"i{index}": np.asarray(item) for index, item in enumerate(inputs) if item is not None}


@pytest.mark.parametrize(("model", "first", "second"), CASES)
def test_one_file_follows_its_run_time_operands(
    model: onnx.ModelProto, first: Any, second: Any, tmp_path: Path
) -> None:
    artifact = build(prepared(model), tmp_path)
    truth = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    kernels: tuple[Kernels, ...] = ("xnnpack", "reference")
    for kernel in kernels:
        session = LiteRTSession(tmp_path / artifact.main, kernel)
        for feeds in map(feeds_of, (first, second, first)):
            expected: Any = truth.run(None, feeds)[0]
            np.testing.assert_allclose(session.run(feeds)["y"], expected, rtol=1e-4, atol=1e-5)


BAD = {
    "dilated weights": (
        model_of("ConvTranspose", [1, 3, 10, 9], [IMAGE, floats(4, 3, 3, 3)], {"dilations": [2, 2]}),
        "computed weights with dilations have no LiteRT form",
    ),
    "a mode that nobody knows": (
        model_of("Pad", [2, 3, 7], [BOX, ints(0, 0, 1, 0, 0, 1)], {"mode": "mirror"}),
        "mode 'mirror' has no LiteRT form",
    ),
    "too many places": (
        model_of(
            "ScatterND",
            [2, 3, 5],
            [BOX, np.zeros((40000, 1), np.int64), floats(40000, 3, 5)],
            {"reduction": "mul"},
        ),
        "'mul' of 40000 computed updates into 2 rows is beyond what edgekit writes out",
    ),
    "a large determinant": (
        model_of("Det", [2], [floats(2, 5, 5)], {}),
        "a determinant of 5 x 5 float32 is beyond what edgekit writes out (float32, 4 x 4)",
    ),
    "normalization that differs": (
        model_of("MeanVarianceNormalization", [1, 4, 6, 5], [IMAGE], {}),
        "ONNX and ONNX Runtime compute it differently, so no result could be called right",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_run_time_form_that_litert_lacks_is_refused_with_rule_and_way_out(name: str) -> None:
    model, rule = BAD[name]
    (gap,) = gaps_of(model)
    assert gap.rule == rule
    assert gap.way_out


def test_int8_numbers_without_a_scale_have_no_arithmetic() -> None:
    info = helper.make_tensor_value_info("x", TensorProto.INT8, [4])
    result = helper.make_tensor_value_info("y", TensorProto.INT8, [4])
    graph = helper.make_graph([helper.make_node("Add", ["x", "x"], ["y"])], "codes", [info], [result])
    (gap,) = gaps_of(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9))
    assert gap.rule == "LiteRT's ADD takes no int8"


def test_a_place_that_is_written_twice_is_refused() -> None:
    model = model_of("ScatterND", [2, 3, 5], [BOX, ints([1], [1]), floats(2, 3, 5)], {})
    weights = [numpy_helper.from_array(ints([1], [1]), "i1")]
    del model.graph.input[1]
    model.graph.initializer.extend(weights)
    (gap,) = gaps_of(model)
    assert gap.rule == "a place is written twice, which ONNX leaves open"
