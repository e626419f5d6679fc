"""Biases corrected for float16: the saved program's convolutions keep the mean that fp32 has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from edgekit._qdq import QdqForm, insert_corrected_qdq, measure_means
from edgekit._schemes import PORTABLE, Compute
from tests.models import run_onnx
from tests.qdq.qdq_nets import as_component, net, node, normal, record_for
from tests.targets.coreml_models import TARGET, Ask, build

if TYPE_CHECKING:
    from pathlib import Path

    import onnx

    from tests.qdq.qdq_nets import Array


def signs_on_paper(seed: int) -> tuple[onnx.ModelProto, list[dict[str, Array]]]:
    """Two convolutions, the second an edge filter, over images of one grey with a few signs on it."""
    second = normal(3, 16, 3, 3, seed=seed + 50)
    weights = {
        "w": normal(16, 1, 3, 3, seed=seed),
        "b": normal(16, seed=seed) + 3,
        "v": second - second.mean(axis=(2, 3), keepdims=True),
        "c": normal(3),
    }
    nodes = [
        node("Conv", ["x", "w", "b"], ["y"], "one"),
        node("Sigmoid", ["y"], ["s"], "gate"),
        node("Mul", ["y", "s"], ["z"], "silu"),
        node("Conv", ["z", "v", "c"], ["out"], "two"),
    ]
    images: list[dict[str, Array]] = []
    for each in range(3):
        image = np.full((1, 1, 24, 24), 5.3, np.float32)
        image[..., 8:12, 6:16] = normal(4, 10, seed=each, reach=6)
        images.append({"x": image})
    return net(nodes, {"x": (1, 1, 24, 24)}, ["out"], weights), images


def mean_error(seed: int, compute: Compute, folder: Path) -> float:
    """Of the last convolution of a float16 program against fp32, the worst channel."""
    model, images = signs_on_paper(seed)
    component, record = as_component(model), record_for(model, images[0])
    floats = measure_means(component.model, images)
    made = insert_corrected_qdq(component, record, floats, form=QdqForm(PORTABLE, compute=compute)).component
    tap = next(str(one.outputs[0].name) for one in made.model.graph if one.name == "two")
    session = TARGET.open(build(made, folder / compute, Ask("int8")), folder / compute)
    errors = [run_onnx(model, image)["out"] - session.run(image, [tap])[tap] for image in images]
    return float(np.abs(np.mean(errors, axis=(0, 1, 3, 4))).max())


@pytest.mark.parametrize("seed", range(4))
def test_the_mean_error_of_a_float16_program_is_gone(seed: int, tmp_path: Path) -> None:
    assert mean_error(seed, "fp16", tmp_path) < 0.2 * mean_error(seed, "fp32", tmp_path)


def test_the_plan_says_what_the_program_computes_between_its_integers() -> None:
    assert TARGET.plan([], Ask("int8").job).compute == "fp16"
    assert TARGET.plan([], Ask("int8", options={"compute": "fp32"}).job).compute == "fp32"
