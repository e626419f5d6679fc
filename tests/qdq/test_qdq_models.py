"""Real and toy models through equalization and Q/DQ: the same in float, loadable, and near it in int8."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from edgekit._qdq import (
    QdqForm,
    Steering,
    equalize_channels,
    insert_qdq,
    lift_component,
    list_candidates,
    list_equalized,
)
from edgekit._schemes import NATIVE_U8, PORTABLE
from edgekit._values import Component, DimRange
from edgekit.passes.prepare_component import prepare_component
from edgekit.passes.serialize_model import serialize_model
from edgekit.sources.onnx_file import load_onnx
from tests.models import PACKAGE_MODELS, QUICK_SHAPES, TOYS, package_model, random_feeds, run_onnx
from tests.qdq.qdq_nets import all_tensors, as_component, f32, net, node, normal, record_of, sqnr

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgekit.calibration.record import CalibrationRecord

    Feeds = dict[str, np.ndarray]


def real(name: str) -> tuple[Component, Feeds]:
    shapes = {key: tuple(DimRange(dim, dim) for dim in dims) for key, dims in QUICK_SHAPES[name].items()}
    feeds = random_feeds(QUICK_SHAPES[name], package_model(name))
    return prepare_component(load_onnx(package_model(name)), shapes=shapes), feeds


def toy(name: str) -> tuple[Component, Feeds]:
    model = TOYS[name]()
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in model.graph.input
    }
    component = prepare_component(Component("model", ir.from_proto(model), "digest"), shapes={})
    return component, {key: normal(*dims) for key, dims in shapes.items()}


def record(component: Component, feeds: Feeds) -> CalibrationRecord:
    """Of the tensors of the main graph, by plain ONNX Runtime and numpy."""
    tensors = all_tensors(onnx.load_from_string(serialize_model(component.model)), feeds)
    finite = {name: np.nan_to_num(values) for name, values in tensors.items()}  # masks are -inf
    return record_of(finite, list_equalized(component.model.graph))


MODELS = [*PACKAGE_MODELS, *TOYS]


def prepared(name: str) -> tuple[Component, Feeds]:
    return toy(name) if name in TOYS else real(name)


@pytest.mark.parametrize("name", MODELS)
def test_equalizing_leaves_the_float_outputs_alone(name: str) -> None:
    component, feeds = prepared(name)
    lifted = lift_component(component)
    before = serialize_model(component.model)
    equal, _ = equalize_channels(lifted, record(lifted, feeds))
    # Compared in front of a last Sigmoid or Softmax too, where it would hide a difference.
    last = [str(value.name) for value in lifted.model.graph.outputs]
    tensors = set(list_candidates(lifted.model.graph)) & set(list_candidates(equal.model.graph))
    expected = all_tensors(onnx.load_from_string(before), feeds)
    got = all_tensors(onnx.load_from_string(serialize_model(equal.model)), feeds)
    moved = {str(value.name) for value in _lifted_values(component, lifted)}
    for found in {*tensors, *last} - moved:
        finite = expected[found][np.isfinite(expected[found])]  # masks are -inf
        reach = float(np.abs(finite).max(initial=0.0))
        np.testing.assert_allclose(
            got[found], expected[found], rtol=1e-3, atol=1e-4 * reach + 1e-6, err_msg=found
        )
    assert serialize_model(component.model) == before


def _lifted_values(component: Component, lifted: Component) -> list[ir.Value]:
    """Tensors between a lifted layer and the ones that give the factor back: those of other weights."""
    if lifted is component:
        return []
    old = {str(item.name): item for item in component.model.graph}
    changed = [
        item
        for item in lifted.model.graph
        if item.op_type in ("Conv", "ConvTranspose", "Gemm")
        and str(item.inputs[1] and item.inputs[1].name)
        != str((w := old[str(item.name)].inputs[1]) and w.name)
    ]
    values = [output for item in changed for output in item.outputs]
    behind = [reader.outputs[0] for value in values for reader, _ in value.uses()]
    return values + behind


def _weight_name(item: ir.Node) -> str | None:
    weight = item.inputs[1]
    return None if weight is None else weight.name


@pytest.mark.parametrize("name", MODELS)
def test_candidates_cover_every_steering_and_the_result_loads(name: str) -> None:
    component, feeds = prepared(name)
    component = lift_component(component)
    component, full = equalize_channels(component, record(component, feeds))
    graph = component.model.graph
    needed = set(list_candidates(graph))
    assert needed <= set(full.ranges)
    before = serialize_model(component.model)
    types = [str(value.type) for item in graph for value in item.outputs]
    nodes = [str(item.name) for item in graph if item.op_type in ("Conv", "Add", "MatMul", "Gemm", "Mul")]
    steerings = [
        Steering(),
        Steering(only_ops=frozenset({"Conv", "MatMul"})),
        Steering(float_nodes=frozenset(nodes[::3])),
    ]
    for steering in steerings:
        forms = [QdqForm(PORTABLE), QdqForm(NATIVE_U8, "int32")]
        for form in forms if steering == Steering() else forms[:1]:
            result = insert_qdq(component, full, form=form, steering=steering)
            assert set(result.scales.tensors) <= needed
            assert len(result.decisions) == len(graph)
            run_onnx(result.component.model, feeds)
    assert serialize_model(component.model) == before
    assert [str(value.type) for item in graph for value in item.outputs] == types


def test_equalized_channels_are_asked_for_before_calibration() -> None:
    component, _ = real("ppocr-rec")
    wanted = list_equalized(component.model.graph)
    assert wanted
    assert set(wanted) <= {str(value.name) for item in component.model.graph for value in item.outputs}


class RandomNet:
    """Four seeded blocks, [1, 6, h, w] in and out, and a classifier."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: Feeds = {"lo": f32(0), "hi": f32(6), "by": f32([1, 1, 2, 2]), "flat": np.array([1, 6])}
        here = self.conv("x", 3)
        for block in self.rng.choice(list(self.blocks()), 4):
            here = self.blocks()[str(block)](self.conv(here), here)
        flat = self.put("Reshape", [self.put("GlobalAveragePool", [here]), "flat"])
        self.weights["fc"] = self.rng.normal(0, 0.4, (6, 5)).astype(np.float32)
        outputs = [self.put("Gemm", [flat, "fc"]), here]
        self.model = net(self.nodes, {"x": (1, 3, 12, 12)}, outputs, self.weights)

    def blocks(self) -> dict[str, Callable[[str, str], str]]:
        put, conv = self.put, self.conv
        return {
            "relu": lambda c, _: put("Relu", [c]),
            "clip": lambda c, _: put("Clip", [c, "lo", "hi"]),
            "silu": lambda c, _: put("Mul", [c, put("Sigmoid", [c])]),
            "hardswish": lambda c, _: put("HardSwish", [c]),
            "pool": lambda c, _: put("MaxPool", [c], kernel_shape=[2, 2]),
            "residual": lambda c, here: put("Relu", [put("Add", [c, here])]),
            "concat": lambda c, here: conv(put("Concat", [c, here], axis=1), 12),
            "depthwise": lambda c, _: conv(put("Relu", [c]), 6, group=6),
            "resize": lambda c, _: put("Resize", [c, "", "by"], mode="nearest"),
        }

    def conv(self, source: str, channels: int = 6, *, group: int = 1) -> str:
        name = f"conv{len(self.nodes)}"
        spread = np.exp(self.rng.normal(0, 1, (6, 1, 1, 1)))  # channels of unequal loudness
        values = self.rng.normal(0, 1, (6, channels // group, 3, 3)) * spread / np.sqrt(9 * channels / group)
        self.weights[f"{name}.w"] = values.astype(np.float32)
        self.weights[f"{name}.b"] = self.rng.normal(0, 0.3, 6).astype(np.float32)
        return self.put("Conv", [source, f"{name}.w", f"{name}.b"], pads=[1] * 4, group=group)

    def put(self, op: str, inputs: list[str], **attributes: object) -> str:
        name = f"t{len(self.nodes)}"
        made = node(op, inputs, [name], name)
        made.attribute.extend(onnx.helper.make_attribute(key, value) for key, value in attributes.items())
        self.nodes.append(made)
        return name


@pytest.mark.parametrize("seed", range(12))
def test_random_nets_stay_near_float(seed: int) -> None:
    model = RandomNet(seed).model
    feeds = {"x": normal(1, 3, 12, 12, seed=seed)}
    truth = run_onnx(model, feeds)
    component = lift_component(as_component(model))
    component, full = equalize_channels(component, record(component, feeds))
    for form in (QdqForm(PORTABLE), QdqForm(PORTABLE, "int32"), QdqForm(NATIVE_U8, "int32")):
        got = run_onnx(insert_qdq(component, full, form=form).component.model, feeds)
        for name, expected in truth.items():
            assert sqnr(expected, got[name]) > 18, (form, name)
