"""AdaRound: codes next to the weights, outputs nearer on unseen samples by what ONNX Runtime computes."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgekit._choose_layer_rounding import choose_layer_rounding
from edgekit._qdq import QdqForm, Steering, insert_qdq, round_layers
from edgekit._qdq.adaround import round_rows
from edgekit._schemes import NATIVE_U8, NATIVE_U8_S4, PORTABLE
from edgekit._verify import reference_session
from edgekit.calibration.samples import Sample, Samples
from edgekit.errors import UsageError
from edgekit.passes.serialize_model import serialize_model
from tests.models import run_onnx
from tests.qdq.qdq_nets import as_component, fake, net, node, normal, record_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from edgekit._qdq import QdqResult
    from edgekit._schemes import Scheme

    Array = np.ndarray


def rows_of(arrays: Sequence[Array], kind: Literal["real", "random"] = "real") -> Samples:
    """Samples of one input `x`."""

    def read() -> Iterator[Sample]:
        return (Sample(str(index), {"x": array}) for index, array in enumerate(arrays))

    return Samples("digest", kind, "arrays", len(arrays), read)


def correlated(shape: tuple[int, ...], count: int, *, axis: int, seed: int) -> list[Array]:
    """Samples whose neighbours, and channels along `axis`, go together as those of a trained network do."""
    rng = np.random.default_rng(seed)
    channels = shape[axis]
    mix = np.random.default_rng(1).standard_normal((channels, channels)) + 1.5
    found = rng.standard_normal((count, *shape)) + 1
    mixed = np.moveaxis(np.tensordot(found, mix, ([axis + 1], [0])), -1, axis + 1)
    return list(mixed.astype(np.float32))


# op, weight, attributes, shape of x, the axis of its channels
LAYERS: list[tuple[str, tuple[int, ...], dict[str, Any], tuple[int, ...], int]] = [
    ("Conv", (8, 6, 3, 3), {"pads": [1, 1, 1, 1]}, (1, 6, 9, 11), 1),
    ("Conv", (8, 6, 3, 2), {"pads": [2, 0, 1, 1], "strides": [2, 3], "dilations": [1, 2]}, (2, 6, 9, 11), 1),
    ("Conv", (8, 6, 3, 3), {"auto_pad": "SAME_UPPER", "strides": [2, 2]}, (1, 6, 10, 11), 1),
    ("Conv", (8, 6, 2, 2), {"auto_pad": "SAME_LOWER"}, (1, 6, 10, 11), 1),
    ("Conv", (8, 6, 2, 2), {"auto_pad": "VALID"}, (1, 6, 10, 11), 1),
    ("Conv", (12, 1, 3, 3), {"group": 12, "pads": [1, 1, 1, 1]}, (1, 12, 9, 9), 1),
    ("Conv", (8, 3, 3, 3), {"group": 2}, (1, 6, 9, 9), 1),
    ("Conv", (8, 6, 5), {"pads": [2, 2]}, (1, 6, 40), 1),
    ("Conv", (4, 3, 2, 2, 2), {}, (1, 3, 5, 6, 4), 1),
    ("Gemm", (16, 12), {}, (9, 16), 1),
    ("Gemm", (12, 16), {"transB": 1}, (9, 16), 1),
    ("MatMul", (16, 12), {}, (2, 9, 16), 2),
]
IDS = [f"{op}{index}" for index, (op, *_) in enumerate(LAYERS)]


def one_layer(op: str, weight: Array, attributes: dict[str, Any], shape: tuple[int, ...]) -> onnx.ModelProto:
    return net([node(op, ["x", "w"], ["y"], "layer", **attributes)], {"x": shape}, ["y"], {"w": weight})


def held_weight(quantized: QdqResult) -> tuple[Array, Array, int]:
    """Signed codes, scales and channel axis of the one weight in a Q/DQ graph, read with onnx."""
    graph = onnx.load_from_string(serialize_model(quantized.component.model)).graph
    known = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    (restored,) = [one for one in graph.node if one.op_type == "DequantizeLinear" and one.input[0] in known]
    codes, scales, zero = (known[name] for name in restored.input)
    (axis,) = [attribute.i for attribute in restored.attribute if attribute.name == "axis"]
    return codes.astype(int) - zero.flat[0].astype(int), scales, axis


def spread(scales: Array, axis: int, rank: int) -> Array:
    return scales.reshape([-1 if index == axis else 1 for index in range(rank)])


def quantize(
    model: onnx.ModelProto, samples: Samples, scheme: Scheme, *, rounded: Any = None
) -> tuple[QdqResult, Any]:
    """The Q/DQ graph, with the given roundings; and the record that it was made by."""
    arrays = [sample.feeds["x"] for sample in samples]
    seen = {"x": np.stack(arrays), "y": np.stack([run_onnx(model, {"x": x})["y"] for x in arrays])}
    record = record_of({name: values.reshape(-1, *values.shape[2:]) for name, values in seen.items()})
    steering = Steering(rounded=rounded or {})
    return insert_qdq(as_component(model), record, form=QdqForm(scheme), steering=steering), record


def output_error(model: onnx.ModelProto, weight: Array, arrays: Sequence[Array], scale: float) -> float:
    """Energy of what a weight adds to the output on quantized inputs, in float by ONNX Runtime."""
    other = onnx.ModelProto()
    other.CopyFrom(model)
    other.graph.initializer[0].CopyFrom(numpy_helper.from_array(weight.astype(np.float32), "w"))
    inputs = [fake(array, scale) for array in arrays]
    apart = [run_onnx(other, {"x": x})["y"] - run_onnx(model, {"x": x})["y"] for x in inputs]
    return float(sum(np.sum(np.square(one, dtype=np.float64)) for one in apart))


@pytest.mark.parametrize(("op", "shape", "attributes", "data", "axis"), LAYERS, ids=IDS)
def test_outputs_are_nearer_on_samples_that_chose_nothing(
    op: str, shape: tuple[int, ...], attributes: dict[str, Any], data: tuple[int, ...], axis: int
) -> None:
    weight = normal(*shape, seed=4)
    model = one_layer(op, weight, attributes, data)
    samples = rows_of(correlated(data, 24, axis=axis, seed=2))
    plain, _ = quantize(model, samples, PORTABLE)
    made = round_layers(as_component(model).model, plain.component.model, samples)
    (layer,) = made.layers.values()
    assert layer.codes is not None, layer.words
    quantized, _ = quantize(model, samples, PORTABLE, rounded=made.layers)

    codes, scales, channel = held_weight(quantized)
    nearest, same, _ = held_weight(plain)
    assert np.array_equal(scales, same)
    assert np.abs(codes).max() <= 127
    assert 0 < np.abs(codes - nearest).max() <= 1
    steps = spread(scales, channel, weight.ndim)
    assert np.all(np.abs(codes * steps - weight) < steps * (1 + 1e-5))

    scale = quantized.scales.tensors["x"].scale
    held = [sample.feeds["x"] for index, sample in enumerate(samples) if index in made.held]
    assert len(held) == 6
    for arrays in (held, correlated(data, 8, axis=axis, seed=9)):
        before, after = (output_error(model, one * steps, arrays, scale) for one in (nearest, codes))
        assert after < 0.9 * before
    signal = output_error(model, 2 * weight, held, scale)
    assert layer.nearest_db == pytest.approx(
        10 * np.log10(signal / output_error(model, nearest * steps, held, scale)), abs=0.5
    )


@pytest.mark.parametrize("scheme", [NATIVE_U8, NATIVE_U8_S4], ids=lambda scheme: scheme.name)
def test_unsigned_and_4_bit_weights_keep_their_codes(scheme: Scheme) -> None:
    weight = normal(64, 48, seed=4)
    model = one_layer("Gemm", weight, {"transB": 1}, (9, 48))
    samples = rows_of(correlated((9, 48), 24, axis=1, seed=2))
    plain, _ = quantize(model, samples, scheme)
    made = round_layers(as_component(model).model, plain.component.model, samples)
    quantized, _ = quantize(model, samples, scheme, rounded=made.layers)
    (nearest, scales, axis), (codes, same, _) = held_weight(plain), held_weight(quantized)
    assert np.array_equal(scales, same)
    assert np.abs(codes).max() <= (7 if scheme is NATIVE_U8_S4 else 127)
    assert 0 < np.abs(codes - nearest).max() <= 1
    steps = spread(scales, axis, 2)
    fresh = np.concatenate(correlated((9, 48), 8, axis=1, seed=9))
    before, after = (np.sum((fresh @ (one * steps - weight).T) ** 2) for one in (nearest, codes))
    assert after < 0.9 * before


def test_no_choice_of_neighbours_is_much_nearer_than_the_one_found() -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((1, 20, 8)).astype(np.float32)
    scales = np.full((1, 20, 1), 0.1, np.float32)
    data = (rng.standard_normal((400, 8)) @ (rng.standard_normal((8, 8)) + 1)).astype(np.float32)
    moments = (data.T @ data / np.float32(len(data))).astype(np.float32)[None]
    nearest = np.rint(rows / scales).astype(np.int8)
    found = round_rows(rows, nearest, scales, moments, 127)

    def error(codes: Array) -> Array:
        return np.asarray(np.mean((data @ (codes * scales - rows)[0].T) ** 2, axis=0))

    low = np.floor(rows / scales)
    best = np.min([error(low + np.array(up)) for up in itertools.product((0, 1), repeat=8)], axis=0)
    assert np.all(error(found) >= best * (1 - 1e-4))
    gained, possible = (np.sum(error(nearest) - one) for one in (error(found), best))
    assert gained > 0.7 * possible


def test_what_is_exact_stays_and_no_code_leaves_its_range() -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(-127, 128, (1, 8, 16)).astype(np.int8)
    scales = np.full((1, 8, 1), 0.25, np.float32)
    rows = (codes * scales).astype(np.float32)
    rows[:, :, 8:] += 0.1 * np.sign(rows[:, :, 8:])  # beyond the outermost codes too
    data = rng.standard_normal((50, 16)).astype(np.float32) + 2
    made = round_rows(rows, codes, scales, (data.T @ data)[None], 127)
    assert np.array_equal(made[:, :, :8], codes[:, :, :8])
    assert np.abs(made.astype(int)).max() <= 127


def test_layers_that_are_left_say_why() -> None:
    shared = normal(6, 6, 1, 1, seed=3)
    nodes = [
        node("Conv", ["x", "w"], ["a"], "one"),
        node("Conv", ["a", "w"], ["b"], "two"),
        node("ConvTranspose", ["b", "v"], ["y"], "turned"),
    ]
    model = net(nodes, {"x": (1, 6, 5, 5)}, ["y"], {"w": shared, "v": normal(6, 4, 2, 2, seed=5)})
    arrays = correlated((1, 6, 5, 5), 8, axis=1, seed=2)
    tapped = onnx.ModelProto()
    tapped.CopyFrom(model)
    tapped.graph.output.extend(onnx.ValueInfoProto(name=name) for name in ("a", "b"))
    seen = [{"x": x, **run_onnx(tapped, {"x": x})} for x in arrays]
    record = record_of({name: np.concatenate([one[name] for one in seen]) for name in "xaby"})
    component = as_component(model)
    plain = insert_qdq(component, record, form=QdqForm(PORTABLE))
    made = round_layers(component.model, plain.component.model, rows_of(arrays))
    assert "transposed" in made.layers["turned"].words
    assert made.layers["one"].words == made.layers["two"].words == "several nodes read its weight"
    assert "0 of 3 int8 layers; 2 to the nearest: several nodes read its weight" in made.words
    told = insert_qdq(component, record, form=QdqForm(PORTABLE), steering=Steering(rounded=made.layers))
    assert {one.node for one in told.decisions if "rounded to the nearest" in one.reason} == {
        "one", "two", "turned",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        (rows_of([normal(9, 16)] * 7), "7 are too few"),
        (rows_of([normal(9, 16)] * 9, "random"), "random ones say"),
    ],
)
def test_few_and_random_samples_are_refused(samples: Samples, words: str) -> None:
    model = one_layer("Gemm", normal(16, 12), {}, (9, 16))
    plain, _ = quantize(model, samples, PORTABLE)
    with pytest.raises(UsageError, match=words):
        round_layers(as_component(model).model, plain.component.model, samples)


@pytest.mark.parametrize("farther", [1.0, 6.0])
def test_nothing_is_chosen_where_the_whole_model_is_no_nearer(farther: float) -> None:
    model = one_layer("Gemm", normal(16, 12, seed=4), {}, (9, 16))
    samples = rows_of(correlated((9, 16), 16, axis=1, seed=2))
    _, record = quantize(model, samples, PORTABLE)
    component = as_component(model)
    wide = {
        name: replace(seen, threshold=seen.threshold * farther, low=seen.low * farther)
        for name, seen in record.ranges.items()
    }

    def insert(rounded: Any) -> QdqResult:
        own = replace(record, ranges=wide) if rounded else record
        return insert_qdq(component, own, form=QdqForm(PORTABLE), steering=Steering(rounded=rounded))

    made = choose_layer_rounding(
        component,
        samples,
        expected=reference_session(component.model),
        insert=insert,
    )
    assert bool(made.chosen) is (farther == 1.0)
    assert ("the whole model is no nearer" in made.words) is (farther > 1)
    assert (made.chosen_db > made.nearest_db) is (farther == 1.0)
