"""--max-drop: sensitivity beside a formula, the fewest layers found, what is said where none is enough."""

from __future__ import annotations

import json
import shutil
from fractions import Fraction
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

import edgekit
from edgekit._cache import open_cache
from edgekit._convert import STAGE
from edgekit._layers import cut_layers
from edgekit._plan import resolve_all
from edgekit._qdq import QdqForm
from edgekit._recipe import Recipe
from edgekit._results import OutputParity, TaskScore
from edgekit._schemes import PORTABLE, QuantParams
from edgekit._search import LayerCost, measure_sensitivity
from edgekit._search.fewest import gallop, give_back
from edgekit._search.fit_ranges import choose_clipped
from edgekit._search.judge import Judge
from edgekit._search.output_distance import measure_distance
from edgekit._search.sensitivity import rank_layers
from edgekit._verify import float_session, reference_session
from edgekit._workshop import Workshop
from edgekit.calibration.samples import Sample
from edgekit.errors import EdgekitError, UsageError
from edgekit.sources.bound_file import load_bound

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

RNG = np.random.default_rng(11)
CLASSES, WIDTH = 5, 16


def fragile() -> onnx.ModelProto:
    """Four products; the third one has a column of large values, which costs the others their steps."""
    start = first = np.eye(WIDTH, dtype=np.float32)
    middle = np.concatenate([np.full((WIDTH, 1), 40.0), RNG.standard_normal((WIDTH, WIDTH - 1))], axis=1)
    last = RNG.standard_normal((WIDTH, CLASSES)).astype(np.float32)
    last[0] = 0.0  # the huge column says nothing: all that matters is below its step
    weights = {"start": start, "first": first, "middle": middle.astype(np.float32), "last": last}
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "start"], ["z"], "zero"),
            helper.make_node("MatMul", ["z", "first"], ["a"], "one"),
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
    layers = {layer.tensor: layer for layer in measure_sensitivity(model, result, [feeds])}
    (tensor,) = (name for name, layer in layers.items() if name.startswith("c"))
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
    want = divergence(softmax(exact["y"] + moved), softmax(exact["y"]))
    assert layers[tensor].error == pytest.approx(want, rel=1e-3)
    # The huge column makes the rounding of the tensor itself the error: who reads it must be float too.
    assert layers[tensor].nodes == {"two", "three"}
    assert layers[tensor].macs == WIDTH * WIDTH + WIDTH * CLASSES


def softmax(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores.astype(np.float64))
    shares: np.ndarray = powers / powers.sum(axis=-1, keepdims=True)
    return shares


def divergence(moved: np.ndarray, exact: np.ndarray) -> float:
    """Kullback-Leibler by its definition, a row at a time."""
    rows = [
        sum(p * np.log(p / q) for p, q in zip(one, other, strict=True) if p > 0)
        for one, other in zip(exact, moved, strict=True)
    ]
    return float(np.mean(rows))


def test_a_close_call_counts_more_than_a_sure_class() -> None:
    sure, close = np.array([[0.98, 0.01, 0.01]]), np.array([[0.40, 0.38, 0.22]])
    step = np.array([[-0.005, 0.005, 0.0]])
    outputs = {"y": sure.astype(np.float32)}
    assert measure_distance(outputs, outputs) == 0.0
    for rows in (sure, close):
        got = measure_distance({"y": rows + step}, {"y": rows})
        assert got == pytest.approx(divergence(rows + step, rows), rel=1e-6)


def test_what_tells_no_class_is_compared_by_energy() -> None:
    exact = RNG.standard_normal((1, 3, 4, 4)).astype(np.float32)
    moved = exact + np.float32(0.5)
    want = 0.25 * exact.size / float(np.sum(exact.astype(np.float64) ** 2))
    assert measure_distance(
        {"y": moved, "n": np.arange(3)}, {"y": exact, "n": np.arange(3)}
    ) == pytest.approx(want, rel=1e-5)


def test_a_range_is_clipped_only_where_the_outputs_are_better_off() -> None:
    """x holds one value that is 50 times the rest; `use` reads it, `drop` does not."""
    weights = np.zeros((4, 3), np.float32)
    weights[:3] = RNG.standard_normal((3, 3))
    kept = RNG.standard_normal((4, 3)).astype(np.float32)
    kept[3] *= 0.05  # no class is so sure that nothing moves it
    graph = helper.make_graph(
        [
            helper.make_node("Identity", ["x"], ["a"], "first"),
            helper.make_node("Identity", ["x"], ["b"], "second"),
            helper.make_node("MatMul", ["a", "drop"], ["u"], "drop"),
            helper.make_node("MatMul", ["b", "use"], ["v"], "use"),
            helper.make_node("Add", ["u", "v"], ["y"], "sum"),
        ],
        "outlier",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])],
        [numpy_helper.from_array(weights, "drop"), numpy_helper.from_array(kept, "use")],
    )
    model = ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))
    whole, clipped = QuantParams(50 / 127, 0, "int8"), QuantParams(1 / 127, 0, "int8")
    feeds = [{"x": np.array([[0.3, -0.7, 0.45, 50.0]], np.float32)}]
    chosen = choose_clipped(
        model,
        whole={"a": whole, "b": whole, "x": whole},
        clipped={"a": clipped, "b": clipped, "x": clipped},
        feeds=feeds,
    )
    assert chosen == {"a"}


def test_the_layer_that_hurts_is_left_in_float_and_the_others_are_not(place: Path, tmp_path: Path) -> None:
    common: Any = {"targets": "litert", "samples": place / "data", "cache": "off"}
    plain = edgekit.convert(place / "m.onnx", output=tmp_path / "plain", **common)
    mixed = edgekit.convert(place / "m.onnx", output=tmp_path / "mixed", max_drop="2%", **common)
    shares = [result.bundles[0].parities[0].macs for result in (plain, mixed)]
    assert shares[1] is not None
    assert 0 < shares[1].share < 1
    assert mixed.bundles[0].parities[0].against_fp32[0].top1 == 1.0
    assert any("--max-drop 2%: INT8 loses" in note for note in mixed.notes)
    folder = mixed.bundles[0].folder
    table = json.loads((folder / "mix.json").read_text())
    assert "two" in table["float_nodes"]
    assert [row["precision"] for row in table["layers"] if row["tensor"] == "c"] == ["float"]
    assert table["trials"][-1]["drop"] == table["drop"] <= table["allowed"] < table["trials"][0]["drop"]
    rows = json.loads((folder / "decisions.json").read_text())["nodes"]
    reasons = {row["node"]: row["reason"] for row in rows}
    assert reasons["two"] == "left in float by the search for --max-drop"


def test_16_bits_come_before_float_where_the_target_has_them(place: Path, tmp_path: Path) -> None:
    common: Any = {"samples": place / "data", "cache": "off", "max_drop": "2%"}
    options = {"litert.activations": "int16x8"}
    result = edgekit.convert(
        place / "m.onnx", targets="litert", options=options, output=tmp_path, **common
    ).bundles[0]
    macs = result.parities[0].macs
    assert result.passed
    assert macs is not None
    assert (
        0 < macs.int16 < macs.total
    )  # the last product's result is float, which makes it one of weights alone
    assert macs.share < 1
    table = json.loads((result.folder / "mix.json").read_text())
    assert table["float_nodes"] == []
    wide = table["sixteen_bits"]
    assert wide["scheme"] == "int16x8"
    assert wide["latency"].startswith("unknown")
    assert [row["precision"] for row in table["layers"] if row["tensor"] == "c"] == ["int16x8"]
    rows = json.loads((result.folder / "decisions.json").read_text())["nodes"]
    assert set(wide["nodes"]) <= {row["node"] for row in rows if row["precision"] == "int16x8"}
    scales = json.loads((result.folder / "scales.json").read_text())["tensors"]
    assert scales["c"]["dtype"] == "int16"


def test_a_target_without_16_bits_says_so(place: Path, tmp_path: Path) -> None:
    result = edgekit.convert(
        place / "m.onnx",
        targets="ort-mobile",
        samples=place / "data",
        cache="off",
        max_drop="2%",
        scheme="portable",
        output=tmp_path,
    )
    table = json.loads((result.bundles[0].folder / "mix.json").read_text())
    assert table["float_nodes"]
    assert "no integer kernels" in table["sixteen_bits"]["no_choice"]
    assert any("16-bit activations were no choice: onnxruntime has no" in note for note in result.notes)


def test_one_targets_table_is_tried_on_the_next_before_its_own_search(place: Path, tmp_path: Path) -> None:
    result = edgekit.convert(
        place / "m.onnx",
        targets=("litert", "jetson-orin"),
        samples=place / "data",
        cache="off",
        output=tmp_path,
        max_drop="2%",
    )
    tables = [json.loads((bundle.folder / "mix.json").read_text()) for bundle in result.bundles]
    assert result.passed
    assert tables[0]["float_nodes"]
    assert tables[1]["float_nodes"] == tables[0]["float_nodes"]
    assert tables[1]["trials"][-1]["tried"] == "the mix that another target ended with"


def test_a_table_is_handed_on_from_a_bundle_of_the_cache_too(place: Path, tmp_path: Path) -> None:
    """As after a run that was killed between two targets."""
    cache = tmp_path / "cache"

    def convert(output: str) -> dict[str, str]:
        made = edgekit.convert(
            place / "m.onnx",
            targets=("litert", "jetson-orin"),
            samples=place / "data",
            cache=cache,
            output=tmp_path / output,
            max_drop="2%",
        )
        tried = json.loads((made.bundles[1].folder / "mix.json").read_text())["trials"][-1]["tried"]
        assert tried == "the mix that another target ended with"
        return {bundle.device.name: bundle.digest for bundle in made.bundles}

    first = convert("first")
    (later,) = [entry for entry in (cache / "v1" / STAGE).iterdir() if list(entry.glob("data/jetson*"))]
    shutil.rmtree(later)
    assert convert("again") == first


@pytest.mark.parametrize("wrong", [(0,), (154,), (192,), (199,), (57, 193)])
def test_a_drop_of_just_what_is_allowed_is_enough_and_one_more_is_not(wrong: tuple[int, ...]) -> None:
    """One class of 200 is half a percent, wherever among the samples it lies."""
    samples = [Sample(str(index), {"x": np.array([index])}) for index in range(200)]

    class Answers:
        def __init__(self, wrong: tuple[int, ...]) -> None:
            self.wrong = wrong

        def run(self, feeds: Mapping[str, np.ndarray], taps: Sequence[str] = ()) -> dict[str, np.ndarray]:
            del taps
            second = int(feeds["x"][0]) in self.wrong
            return {"y": np.array([[0.0, 1.0] if second else [1.0, 0.0]], np.float32)}

    shop: Any = SimpleNamespace(
        recipe=Recipe.of("m.onnx", targets="litert"),
        samples=samples,
        fp32=Answers(()),
        scores=frozenset({"y"}),
        component=SimpleNamespace(model=None),
        expected=SimpleNamespace(metadata={}),
    )
    found = Judge(shop, 0.005).measure(Answers(wrong))
    if len(wrong) == 1:
        assert (found.share, found.samples) == (0.005, 200)
    else:
        assert found.share > 0.005


@pytest.mark.parametrize("count", [8, 200, 300, 1000])
def test_a_loss_of_counts_is_the_quotient_that_a_user_would_write(count: int) -> None:
    for lost in range(count + 1):
        seen = OutputParity("y", 0.0, 0.0, 0.0, (count - lost) / count)
        task = TaskScore("top1", 1.0, (count - lost) / count, count)
        limit = float(Fraction(lost, count)) if 1000 % count == 0 else float(f"{lost / count:.12f}")
        assert seen.top1_loss == task.drop == limit


def test_precision_auto_is_int8_with_half_a_percent(place: Path) -> None:
    recipe = Recipe.of(place / "m.onnx", precisions="auto")
    assert (recipe.precisions, recipe.max_drop) == (("int8",), 0.005)
    assert Recipe.of(place / "m.onnx", precisions=("auto", "fp16"), max_drop="2%").max_drop == 0.02


def test_random_samples_judge_nothing(place: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="random ones say nothing"):
        edgekit.convert(
            place / "m.onnx",
            targets="litert",
            samples="random",
            precisions="auto",
            cache="off",
            output=tmp_path,
        )


@pytest.mark.parametrize(("name", "said"), [("raises", "ZeroDivisionError"), ("not_a_number", "is nan")])
def test_an_evaluation_that_fails_is_named_and_leaves_nothing(
    place: Path, tmp_path: Path, name: str, said: str
) -> None:
    with pytest.raises(EdgekitError, match=said) as caught:
        edgekit.convert(
            place / "m.onnx",
            targets="litert",
            samples=place / "data",
            cache="off",
            output=tmp_path / "out",
            precisions="auto",
            metric=f"tests.test_search:{name}",
        )
    assert f"tests.test_search:{name}" in str(caught.value)
    assert not list((tmp_path / "out").glob("*"))


def raises(stream: Any) -> float:
    return 1 / len([item for item in stream if item is None])


def not_a_number(stream: Any) -> float:
    return sum(1 for _ in stream) * float("nan")


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
    assert any("the best of" in note for note in result.notes)


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


def test_layers_that_int8_can_have_back_go_back() -> None:
    layers = [LayerCost(str(index), frozenset([str(index)]), 10 + index, 1.0) for index in range(8)]
    needed = {"2", "5"}

    def enough(chosen: Any) -> bool:
        return needed <= {layer.tensor for layer in chosen}

    assert {layer.tensor for layer in give_back(layers, enough, 99)} == needed
    calls: list[int] = []

    def never(chosen: Any) -> bool:
        calls.append(len(chosen))
        return False

    give_back(layers, never, 3)
    assert len(calls) == 3


def test_layers_go_by_error_for_their_macs() -> None:
    layers = [
        LayerCost("cheap", frozenset("a"), 10, 1.0),
        LayerCost("dear", frozenset("b"), 1000, 2.0),
        LayerCost("none", frozenset("c"), 10, 0.0),
    ]
    assert [layer.tensor for layer in rank_layers(layers)] == ["cheap", "dear"]
