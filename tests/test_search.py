"""--max-drop: sensitivity beside a formula, the fewest layers found, what is said where none is enough."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import edgekit
from edgekit._cache import open_cache
from edgekit._layers import cut_layers
from edgekit._plan import resolve_all
from edgekit._qdq import QdqForm
from edgekit._recipe import Recipe
from edgekit._search import LayerCost, measure_sensitivity
from edgekit._search.search_float import gallop, rank_layers
from edgekit._values import PORTABLE
from edgekit._verify import float_session, reference_session
from edgekit._workshop import Workshop
from edgekit.errors import UsageError
from edgekit.sources.bound_file import load_bound

if TYPE_CHECKING:
    from pathlib import Path

RNG = np.random.default_rng(11)
CLASSES, WIDTH = 5, 16


def fragile() -> onnx.ModelProto:
    """Three products; the middle one has a column of large values, which costs the others their steps."""
    first = np.eye(WIDTH, dtype=np.float32)
    middle = np.concatenate([np.full((WIDTH, 1), 40.0), RNG.standard_normal((WIDTH, WIDTH - 1))], axis=1)
    last = RNG.standard_normal((WIDTH, CLASSES)).astype(np.float32)
    last[0] = 0.0  # the huge column says nothing: all that matters is below its step
    weights = {"first": first, "middle": middle.astype(np.float32), "last": last}
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "first"], ["a"], "one"),
            helper.make_node("Relu", ["a"], ["b"], "relu"),
            helper.make_node("MatMul", ["b", "middle"], ["c"], "two"),
            helper.make_node("MatMul", ["c", "last"], ["y"], "three"),
        ],
        "fragile",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, WIDTH])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, CLASSES])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("search")
    (folder / "m.onnx").write_bytes(fragile().SerializeToString())
    (folder / "data").mkdir()
    for index in range(60):
        sample = np.abs(RNG.standard_normal((1, WIDTH))).astype(np.float32)
        np.savez(folder / "data" / f"{index:02}.npz", allow_pickle=False, x=sample)
    return folder


def workshop_of(place: Path, **options: Any) -> Workshop:
    recipe = Recipe.of(place / "m.onnx", targets="litert", samples=place / "data", cache="off", **options)
    targets = resolve_all(recipe)
    source = load_bound(recipe.model, recipe.bind)
    with open_cache("off") as cache:
        return Workshop(recipe, source, targets, cache, lambda *_: None)


def test_sensitivity_is_the_outputs_change_under_the_layers_own_error(place: Path) -> None:
    shop = workshop_of(place)
    form = QdqForm(PORTABLE, "int32", "int8", "int8")
    result = shop.quantize(form)
    model, feeds = shop.equalized.model, next(iter(shop.samples)).feeds
    layers = {layer.tensor: layer for layer in measure_sensitivity(model, result.component.model, [feeds])}
    (tensor,) = (name for name, layer in layers.items() if "two" in layer.nodes)
    # By hand: the weights behind the tensor are the last product's, so its error goes through them linearly.
    cut = cut_layers(result.component.model)
    from edgekit._verify import with_taps

    exact = float_session(with_taps(model, list(cut.inputs))).run(feeds)
    own = reference_session(cut.model).run(
        {**feeds, **{cut.inputs[name]: exact[name] for name in cut.inputs}}
    )
    last = next(node for node in model.graph if node.name == "three").inputs[1]
    assert last is not None
    assert last.const_value is not None
    moved = (own[cut.outputs[tensor]] - exact[tensor]).astype(np.float64) @ last.const_value.numpy()
    want = float(np.sum(moved**2) / np.sum(exact["y"].astype(np.float64) ** 2))
    assert layers[tensor].error == pytest.approx(want, rel=1e-3)
    assert layers[tensor].macs == WIDTH * WIDTH


def test_the_layer_that_hurts_is_left_in_float_and_the_others_are_not(place: Path, tmp_path: Path) -> None:
    common: Any = {"targets": "litert", "samples": place / "data", "cache": "off"}
    plain = edgekit.convert(place / "m.onnx", output=tmp_path / "plain", **common)
    mixed = edgekit.convert(place / "m.onnx", output=tmp_path / "mixed", max_drop="2%", **common)
    shares = [result.bundles[0].parities[0].macs for result in (plain, mixed)]
    assert shares[1] is not None
    assert 0 < shares[1].share < 1
    assert mixed.bundles[0].parities[0].against_fp32[0].top1 == 1.0
    assert any("--max-drop 2%: INT8 loses" in note for note in mixed.notes)


def test_a_drop_that_nothing_reaches_is_reported_with_exit_1(place: Path, tmp_path: Path) -> None:
    result = edgekit.convert(
        place / "m.onnx",
        targets="litert",
        samples=place / "data",
        cache="off",
        output=tmp_path,
        max_drop="1%",
        metric="tests.test_search:never_good",
    )
    assert not result.passed
    assert any("the best that was found" in note for note in result.notes)


SCORED: list[int] = []


def never_good(stream: Any) -> float:
    """1 for the first model that is scored, which is fp32, and 0 for whatever comes after it."""
    SCORED.append(sum(1 for _ in stream))
    return float(len(SCORED) == 1)


@pytest.mark.parametrize("given", ["-1%", "101%", "much", True, 2])
def test_a_drop_that_is_no_share_is_wrong_usage(given: Any) -> None:
    with pytest.raises(UsageError, match="max_drop"):
        Recipe.of("m.onnx", max_drop=given)


@pytest.mark.parametrize(("most", "least"), [(1, 1), (10, 1), (10, 7), (10, 10), (33, 32), (100, 63)])
def test_the_fewest_layers_are_found_in_few_tries(most: int, least: int) -> None:
    tries: list[int] = []

    def enough(count: int) -> bool:
        tries.append(count)
        return count >= least

    assert gallop(most, enough) == least
    assert len(set(tries)) <= 2 * int(np.log2(most) + 2)


def test_where_not_even_all_layers_are_enough_there_is_none() -> None:
    assert gallop(10, lambda _: False) is None
    assert gallop(0, lambda _: True) is None


def test_layers_go_by_error_for_their_macs() -> None:
    layers = [
        LayerCost("cheap", frozenset("a"), 10, 1.0),
        LayerCost("dear", frozenset("b"), 1000, 2.0),
        LayerCost("none", frozenset("c"), 10, 0.0),
    ]
    assert [layer.tensor for layer in rank_layers(layers)] == ["cheap", "dear"]
