"""16-bit activations among a search's choices: what they cost beside float, and what goes back to int8."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import edgekit
from edgekit._qdq import Mix, Widening
from edgekit._schemes import INT16X8
from edgekit._search.price import Prices

if TYPE_CHECKING:
    from pathlib import Path


def test_16_bits_are_taken_only_where_float_is_not_cheaper() -> None:
    prices = Prices({"small": 10, "large": 1000, "other": 990})
    wide = Mix(wide=Widening(INT16X8, frozenset(("large", "other"))))
    assert prices.of(Mix()) == 0
    assert prices.of(Mix(float_nodes=frozenset(("small",)))) < prices.of(wide)
    assert prices.of(wide) < prices.of(Mix(float_nodes=frozenset(("large", "other"))))
    # A node that is both is float.
    both = Mix(frozenset(("large",)), wide=wide.wide)
    assert prices.of(both) == 3 * 1000 + 990


def weak_head() -> onnx.ModelProto:
    """Two convolutions and a product; nearly all that INT8 loses here is its 8-bit weights'."""
    rng = np.random.default_rng(0)
    shapes = {"w1": (8, 3, 3, 3), "b1": (8,), "w2": (32, 8, 3, 3), "b2": (32,), "w3": (32, 40), "b3": (40,)}
    weights = {name: (0.2 * rng.standard_normal(shape)).astype(np.float32) for name, shape in shapes.items()}
    rows: list[tuple[str, list[str], dict[str, Any]]] = [
        ("Conv", ["x", "w1", "b1"], {"pads": [1] * 4}),
        ("Relu", ["o0"], {}),
        ("Conv", ["o1", "w2", "b2"], {"pads": [1] * 4}),
        ("Relu", ["o2"], {}),
        ("GlobalAveragePool", ["o3"], {}),
        ("Flatten", ["o4"], {}),
        ("Gemm", ["o5", "w3", "b3"], {}),
    ]
    graph = helper.make_graph(
        [
            helper.make_node(op, names, [f"o{i}"], op + str(i), **more)
            for i, (op, names, more) in enumerate(rows)
        ],
        "weak head",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 32, 32])],
        [helper.make_tensor_value_info("o6", TensorProto.FLOAT, [1, 40])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_16_bits_that_a_float_layer_makes_needless_go_back_to_int8(tmp_path: Path) -> None:
    onnx.save(weak_head(), tmp_path / "m.onnx")
    (tmp_path / "data").mkdir()
    rng = np.random.default_rng(1)
    for index in range(7):  # too few for AdaRound, which would be enough
        sample = rng.standard_normal((1, 3, 32, 32)).astype(np.float32)
        np.savez(tmp_path / "data" / f"{index}.npz", allow_pickle=False, x=sample)
    result = edgekit.convert(
        tmp_path / "m.onnx",
        targets="litert",
        samples=tmp_path / "data",
        metric="cosine",
        max_drop="0.001%",
        options={"litert.activations": "int16x8"},
        output=tmp_path / "out",
        cache="off",
    ).bundles[0]
    table = json.loads((result.folder / "mix.json").read_text())
    whole = next(row for row in table["trials"] if row["tried"] == "4 of 4 layers in 16 bits")
    assert table["drop"] <= table["allowed"] < whole["drop"]
    assert table["sixteen_bits"] == {"nodes": []}
    macs = result.parities[0].macs
    convolutions = 32 * 32 * 9 * (3 * 8 + 8 * 32)
    assert macs is not None
    assert (macs.int8, macs.int16, macs.total) == (convolutions, 0, convolutions + 32 * 40)
