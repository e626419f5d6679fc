from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir
import pytest

from edgekit.calibration.open_session import OpenSession, open_once, open_session
from tests.models import run_onnx

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

OPENERS = [open_session, open_once]


@pytest.mark.parametrize("opened", OPENERS)
def test_weights_that_are_no_row_in_memory_are_handed_over_too(
    opened: Callable[[ir.Model], OpenSession],
) -> None:
    weight = np.random.default_rng(1).standard_normal((64, 48)).astype(np.float32).T
    assert not weight.flags.c_contiguous
    x = ir.val("x", dtype=ir.DataType.FLOAT, shape=ir.Shape([1, 48]))
    held = ir.val("w", const_value=ir.Tensor(weight, name="w"))
    node = ir.node("MatMul", [x, held], name="product")
    node.outputs[0].name = "y"
    node.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
    node.outputs[0].shape = ir.Shape([1, 64])
    graph = ir.Graph([x], node.outputs, nodes=[node], initializers=[held], opset_imports={"": 17}, name="g")
    feeds = {"x": np.ones((1, 48), np.float32)}
    expected = run_onnx(ir.to_proto(ir.Model(graph, ir_version=8)), feeds)["y"]
    (got,) = opened(ir.Model(graph, ir_version=8)).run(["y"], feeds)
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-5)  # unpacked, sums go in another order


@pytest.mark.parametrize("folders", [("a", "a"), ("a", "b")])
@pytest.mark.parametrize("opened", OPENERS)
def test_weights_lie_in_files_of_one_folder_or_of_several(
    tmp_path: Path, folders: tuple[str, str], opened: Callable[[ir.Model], OpenSession]
) -> None:
    """One is large, the other small enough that a graph without files holds it itself."""
    random = np.random.default_rng(2)
    arrays = {"large": random.standard_normal((48, 64)), "small": random.standard_normal(64)}
    held: list[ir.Value] = []
    for (name, array), folder in zip(arrays.items(), folders, strict=True):
        (tmp_path / folder).mkdir(exist_ok=True)
        row = array.astype(np.float32)
        (tmp_path / folder / name).write_bytes(row.tobytes())
        shape, place = ir.Shape(row.shape), tmp_path / folder
        tensor = ir.ExternalTensor(
            name, 0, row.nbytes, ir.DataType.FLOAT, shape=shape, name=name, base_dir=place
        )
        held.append(ir.val(name, const_value=tensor))
    x = ir.val("x", dtype=ir.DataType.FLOAT, shape=ir.Shape([2, 48]))
    product = ir.node("MatMul", [x, held[0]])
    added = ir.node("Add", [product.outputs[0], held[1]])
    added.outputs[0].name = "y"
    nodes = [product, added]
    graph = ir.Graph([x], added.outputs, nodes=nodes, initializers=held, opset_imports={"": 17}, name="g")
    feeds = {"x": random.standard_normal((2, 48)).astype(np.float32)}
    (got,) = opened(ir.Model(graph, ir_version=8)).run(["y"], feeds)
    np.testing.assert_allclose(got, feeds["x"] @ arrays["large"] + arrays["small"], rtol=1e-4, atol=1e-4)
