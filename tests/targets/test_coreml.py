from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit.errors import EdgekitError, GapError, MissingToolError, TargetError, UsageError
from edgekit.targets.coreml.operators import table
from tests.converted import read_tree
from tests.models import assert_same_outputs, run_onnx, toy_attention, toy_cnn, toy_lstm
from tests.targets.coreml_models import (
    TARGET,
    Ask,
    build,
    description_of,
    errors_of,
    open_saved,
    prepared,
    read_back,
    run,
)
from tests.targets.litert_models import filled_model, model_of

if TYPE_CHECKING:
    from pathlib import Path

    from edgekit.targets.coreml.graph import Tensor

RNG = np.random.default_rng(5)
IMAGE = RNG.standard_normal((1, 3, 16, 16)).astype(np.float32)


def node(op: str, inputs: list[str], **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op, inputs, ["y"], "the-node", **attributes)


def one(
    op: str, shape: list[Any], weights: dict[str, np.ndarray] | None = None, **attributes: Any
) -> onnx.ModelProto:
    """x -> op(x, weights...) -> y."""
    return model_of([node(op, ["x", *(weights or {})], **attributes)], {"x": shape}, weights or {})


# ---- what is built


@pytest.mark.parametrize("model", [toy_cnn(), toy_attention(), toy_lstm()], ids=["cnn", "attention", "lstm"])
def test_a_float32_program_gives_what_onnx_gives(model: onnx.ModelProto, tmp_path: Path) -> None:
    info = model.graph.input[0]
    shape = [dim.dim_value for dim in info.type.tensor_type.shape.dim]
    feeds = {info.name: RNG.standard_normal(shape).astype(np.float32)}
    assert_same_outputs(run(model, feeds, tmp_path), run_onnx(model, feeds), rtol=1e-4, atol=1e-5)


def test_a_float16_program_computes_in_float16_and_keeps_float32_at_its_borders(tmp_path: Path) -> None:
    artifact = build(toy_cnn(), tmp_path, Ask("fp16"))
    described = description_of(tmp_path / artifact.main)
    kinds = {item.type.multiArrayType.dataType for item in (*described.input, *described.output)}
    assert kinds == {65568}  # ArrayFeatureType's FLOAT32
    saved = read_back(tmp_path / artifact.main)
    convs = [item for item in saved.operations if item.type == "conv"]
    assert {item.outputs[0].type.dtype for item in convs if item.outputs[0].type} == {"float16"}
    got = open_saved(artifact, tmp_path).run({"x": IMAGE})["y"]
    np.testing.assert_allclose(got, run_onnx(toy_cnn(), {"x": IMAGE})["y"], atol=3e-3)


def test_a_constant_too_large_to_fold_is_filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgekit.passes.fold_constants.LARGEST_FOLDED_BYTES", 64)
    feeds = {"x": np.arange(6, dtype=np.float32)[None]}
    np.testing.assert_array_equal(run(filled_model(), feeds, tmp_path)["y"], feeds["x"][0] + 1.5)


def test_the_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    trees = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        build(toy_cnn(), tmp_path / name, Ask("fp16"))
        trees.append(read_tree(tmp_path / name))
    assert trees[0] == trees[1]
    assert len(trees[0]) == 3


def test_the_manifest_of_a_package_names_its_two_parts_by_their_content(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first, other = build(toy_cnn(), tmp_path / "a"), build(toy_cnn(seed=1), tmp_path / "b")
    texts = [
        json.loads((folder / artifact.main / "Manifest.json").read_text(encoding="utf-8"))
        for folder, artifact in ((tmp_path / "a", first), (tmp_path / "b", other))
    ]
    assert texts[0].keys() == {"fileFormatVersion", "itemInfoEntries", "rootModelIdentifier"}
    assert {item["path"] for item in texts[0]["itemInfoEntries"].values()} == {
        "com.apple.CoreML/model.mlmodel",
        "com.apple.CoreML/weights",
    }
    assert texts[0]["rootModelIdentifier"] != texts[1]["rootModelIdentifier"]


def test_coremltools_loads_the_package_that_edgekit_wrote(tmp_path: Path) -> None:
    import coremltools

    artifact = build(toy_cnn(), tmp_path)
    model = coremltools.models.MLModel(str(tmp_path / artifact.main), skip_model_load=True)
    assert [item.name for item in model.get_spec().description.input] == ["x"]


def test_names_of_inputs_and_outputs_are_kept_or_told(tmp_path: Path) -> None:
    model = one("Relu", [1, 4])
    model.graph.input[0].name = model.graph.node[0].input[0] = "serving:0/x"
    artifact = build(model, tmp_path)
    assert artifact.tensors == {"serving:0/x": "serving_0_x"}
    assert [item.name for item in description_of(tmp_path / artifact.main).output] == ["y"]
    x = np.array([[-1, 2, -3, 4]], np.float32)
    np.testing.assert_array_equal(open_saved(artifact, tmp_path).run({"serving:0/x": x})["y"], [[0, 2, 0, 4]])


def test_a_name_that_mil_reserves_is_written_as_another_and_told(tmp_path: Path) -> None:
    model = one("Relu", [1, 4])
    model.graph.input[0].name = model.graph.node[0].input[0] = "state"
    artifact = build(model, tmp_path)
    own = artifact.tensors["state"]
    assert [item.name for item in description_of(tmp_path / artifact.main).input] == [own]
    x = np.array([[-1, 2, -3, 4]], np.float32)
    np.testing.assert_array_equal(open_saved(artifact, tmp_path).run({"state": x})["y"], [[0, 2, 0, 4]])


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_tensors_of_the_source_can_be_tapped_in_the_program(precision: Any, tmp_path: Path) -> None:
    artifact = build(toy_cnn(), tmp_path, Ask(precision))
    taps = ["r1", "p", "no such tensor"]
    got = open_saved(artifact, tmp_path).run({"x": IMAGE}, taps)
    assert got.keys() == {"r1", "p", "y"}
    tapped = toy_cnn()
    tapped.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in ("r1", "p"))
    for name, expected in run_onnx(tapped, {"x": IMAGE}).items():
        np.testing.assert_allclose(got[name], expected, atol=1e-4 if precision == "fp32" else 0.02)


def test_the_models_own_metadata_stay_in_the_package(tmp_path: Path) -> None:
    model = toy_cnn()
    helper.set_model_props(model, {"licence": "MIT", "labels": "a,b"})
    artifact = build(model, tmp_path)
    kept = dict(description_of(tmp_path / artifact.main).metadata.userDefined)
    assert {key: kept[key] for key in ("licence", "labels")} == {"licence": "MIT", "labels": "a,b"}
    assert not any("date" in key for key in kept)


def test_integers_flags_and_scalars_cross_the_border(tmp_path: Path) -> None:
    """int64 travels as int32, bool as int32, a scalar as [1]; the session gives the source's own back."""
    infos = [
        helper.make_tensor_value_info("i", TensorProto.INT64, [3]),
        helper.make_tensor_value_info("b", TensorProto.BOOL, [3]),
        helper.make_tensor_value_info("s", TensorProto.FLOAT, []),
    ]
    nodes = [
        helper.make_node("Add", ["i", "i"], ["twice"]),
        helper.make_node("Not", ["b"], ["other"]),
        helper.make_node("Neg", ["s"], ["minus"]),
    ]
    outputs = [
        helper.make_tensor_value_info("twice", TensorProto.INT64, [3]),
        helper.make_tensor_value_info("other", TensorProto.BOOL, [3]),
        helper.make_tensor_value_info("minus", TensorProto.FLOAT, []),
    ]
    graph = helper.make_graph(nodes, "g", infos, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    feeds = {
        "i": np.array([1, -2, 3]),
        "b": np.array([True, False, True]),
        "s": np.array(2.5, np.float32),
    }
    assert_same_outputs(run(model, feeds, tmp_path), run_onnx(model, feeds))


def test_an_output_that_is_an_input_or_twice_the_same_value_is_written(tmp_path: Path) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Identity", ["x"], ["z"])]
    model = model_of(nodes, {"x": [1, 4]}, {})
    model.graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, [1, 4]))
    x = np.array([[-1, 2, -3, 4]], np.float32)
    assert_same_outputs(run(model, {"x": x}, tmp_path), {"y": np.maximum(x, 0), "z": x})


def test_ranged_shapes_run_at_every_size_of_their_range(tmp_path: Path) -> None:
    model = toy_cnn(batch="batch")
    artifact = build(model, tmp_path, Ask(shapes={"x": ((1, 4), 3, 16, 16)}))
    described = description_of(tmp_path / artifact.main).input[0].type.multiArrayType.shapeRange
    assert (described.sizeRanges[0].lowerBound, described.sizeRanges[0].upperBound) == (1, 4)
    session = open_saved(artifact, tmp_path)
    for count in (1, 3):
        feeds = {"x": np.repeat(IMAGE, count, 0)}
        assert_same_outputs(session.run(feeds), run_onnx(model, feeds), rtol=1e-4)


def test_the_artifact_says_that_apple_has_not_seen_it(tmp_path: Path) -> None:
    artifact = build(toy_cnn(), tmp_path)
    assert "Apple's compiler and hardware have not seen it" in artifact.proves


# ---- what is refused, before any work


def test_an_unknown_op_is_named_with_node_rule_and_way_out() -> None:
    (gap,) = errors_of(one("Det", [3, 3]))
    assert (gap.target, gap.node, gap.op) == ("coreml", "the-node", "Det")
    assert "no Core ML form" in gap.rule
    assert gap.way_out


def scatter() -> onnx.ModelProto:
    places = np.array([[0]], np.int64)
    return one("ScatterElements", [2, 3], {"i": places, "u": np.ones((1, 1), np.float32)}, axis=0)


def wide() -> onnx.ModelProto:
    return one("Relu", [1, 2, 1, 2, 1, 2])


def double() -> onnx.ModelProto:
    info = helper.make_tensor_value_info("x", TensorProto.DOUBLE, [2])
    out = helper.make_tensor_value_info("y", TensorProto.DOUBLE, [2])
    graph = helper.make_graph([node("Relu", ["x"])], "g", [info], [out])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def looped() -> onnx.ModelProto:
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["c2"]), helper.make_node("Relu", ["v"], ["v2"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("c", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", TensorProto.FLOAT, [2]),
        ],
        [
            helper.make_tensor_value_info("c2", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v2", TensorProto.FLOAT, [2]),
        ],
    )
    many = numpy_helper.from_array(np.array(3), "n")
    looping = helper.make_node("Loop", ["n", "", "x"], ["y"], body=body)
    info = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])
    graph = helper.make_graph([looping], "g", [info], [out], [many])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


LSTM = {
    "w": np.ones((1, 8, 3), np.float32),
    "r": np.ones((1, 8, 2), np.float32),
}
REFUSED: dict[str, tuple[Any, str]] = {
    "rank": (wide, "rank 6"),
    "dtype": (double, "float64"),
    "control flow": (looped, "chosen at run time"),
    "indices of a part": (scatter, "only a part of the other axes"),
    "lstm clip": (lambda: one("LSTM", [2, 1, 3], LSTM, hidden_size=2, clip=1.0), "clip"),
    "lstm activations": (
        lambda: one("LSTM", [2, 1, 3], LSTM, hidden_size=2, activations=["Relu", "Tanh", "Tanh"]),
        "activations",
    ),
    "even LRN": (lambda: one("LRN", [1, 4, 3, 3], size=2), "even"),
    "training": (
        lambda: one("Dropout", [2, 3], {"ratio": np.array(0.5, np.float32), "training": np.array(True)}),
        "training mode",
    ),
    "computed weight with dilations": (
        lambda: model_of(
            [node("Conv", ["x", "w"], dilations=[2, 2])], {"x": [1, 2, 5, 5], "w": [3, 2, 3, 3]}, {}
        ),
        "weight is computed",
    ),
    "far indices": (
        lambda: model_of(
            [helper.make_node("Cast", ["x"], ["i"], to=7), helper.make_node("Add", ["i", "c"], ["j"]),
             helper.make_node("Cast", ["j"], ["y"], to=1)], {"x": [2]}, {"c": np.array([2**40, 1])},
        ),
        "32-bit integers",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_core_ml_cannot_hold_is_refused_before_any_work(name: str) -> None:
    make, words = REFUSED[name]
    gaps = errors_of(make())
    assert gaps
    assert words in gaps[0].rule
    assert gaps[0].way_out


@pytest.mark.parametrize(
    ("op", "shape", "attributes"),
    [
        ("Transpose", [2, 3], {"perm": [0, 5]}),
        ("Transpose", [2, 3], {"perm": [1]}),
        ("MaxPool", [1, 2, 8, 8], {"kernel_shape": [2, 2], "strides": [0, 0]}),
        ("MaxPool", [1, 2, 8, 8], {"kernel_shape": [2]}),
        ("DepthToSpace", [1, 3, 4, 4], {"blocksize": 2}),
        ("Concat", [2, 3], {"axis": 9}),
    ],
)
def test_attributes_that_make_no_sense_are_named_and_never_crash(
    op: str, shape: list[int], attributes: dict[str, Any], tmp_path: Path
) -> None:
    try:
        component = prepared(one(op, shape, **attributes))
    except EdgekitError:
        return  # the passes have refused it by name
    with pytest.raises(EdgekitError):
        build(component, tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_open_dim_without_a_range_is_refused() -> None:
    component = prepared(toy_cnn(batch="batch"), Ask(shapes={"x": ((1, 4), 3, 16, 16)}))
    (gap,) = [item for item in TARGET.check([component], Ask().job) if item.severity == "error"]
    assert "needs a size or a range" in gap.rule
    assert "--shape" in gap.way_out


def test_an_attribute_without_a_rule_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from edgekit._lowering import Registered
    from edgekit.targets.coreml.call import RULES
    from edgekit.targets.coreml.rules import load_rules

    load_rules()
    monkeypatch.setitem(RULES, "LeakyRelu", Registered(RULES["LeakyRelu"].rule, frozenset()))
    (gap,) = errors_of(one("LeakyRelu", [2], alpha=0.2))
    assert "attribute 'alpha'" in gap.rule


@pytest.mark.parametrize(
    ("make", "software", "words"),
    [
        (lambda: one("SpaceToDepth", [1, 2, 4, 4], blocksize=2), "ios-15", None),
        (lambda: one("GatherND", [2, 3, 2], {"i": np.array([[1], [0]])}, batch_dims=1), "ios-15", "iOS 16"),
        (
            lambda: one("GatherND", [2, 3, 2], {"i": np.array([[1], [0]])}, batch_dims=1),
            "macos-12",
            "macOS 13",
        ),
    ],
)
def test_a_deployment_target_too_old_names_the_one_it_needs(
    make: Any, software: str, words: str | None
) -> None:
    gaps = errors_of(make(), Ask(software=software))
    assert (not gaps) if words is None else words in gaps[0].rule
    assert words is None or "@ios-16" in gaps[0].way_out


def test_int8_needs_ios_17_and_says_so() -> None:
    gaps = errors_of(toy_cnn(), Ask("int8", software="ios-16"))
    assert ["iOS 17 / macOS 14" in gap.rule for gap in gaps] == [True]
    assert "@ios-17" in gaps[0].way_out


def test_build_writes_nothing_where_a_node_has_no_form(tmp_path: Path) -> None:
    with pytest.raises(GapError, match="no Core ML form"):
        build(one("Det", [3, 3]), tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_unknown_option_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'compute'"):
        errors_of(toy_cnn(), Ask(options={"compte": "fp32"}))
    with pytest.raises(UsageError, match="compute='int4'"):
        errors_of(toy_cnn(), Ask(options={"compute": "int4"}))


def test_without_coremltools_the_install_command_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "coremltools.libmilstoragepython", None)
    with pytest.raises(MissingToolError, match="pip install"):
        build(toy_cnn(), tmp_path)
    monkeypatch.setattr("edgekit.targets.coreml.find_spec", lambda name: None)
    assert TARGET.missing() == 'pip install "coremltools>=9.0"'


def test_a_rule_that_coremltools_contradicts_stops_the_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgekit._lowering import Registered
    from edgekit.targets.coreml.call import RULES, Call
    from edgekit.targets.coreml.rules import load_rules

    def wrong(call: Call) -> Tensor:
        return call.add("transpose", call.out.shape, x=call.x, perm=[1, 0])

    load_rules()
    monkeypatch.setitem(RULES, "Relu", Registered(wrong, frozenset()))
    with pytest.raises(TargetError, match="where edgekit expects"):
        build(one("Relu", [2, 3]), tmp_path)
    assert not list(tmp_path.iterdir())


# ---- the tables


def test_the_operator_table_says_what_coremltools_own_definitions_say() -> None:
    import coremltools
    from coremltools.converters.mil.mil import types
    from coremltools.converters.mil.mil.ops.registry import SSAOpRegistry

    words = {"fp32": "float32"}
    for level, rows in table().items():
        target: Any = getattr(coremltools.target, f"iOS{level}")
        for code, row in rows.items():
            versions: Any = SSAOpRegistry.core_ops[code]
            definition = versions[target]
            for operand, dtypes in row.items():
                kind = definition.input_spec.input_types[operand]
                shared = getattr(kind, "type_domain_id", None)
                domain = definition.type_domains[shared] if shared else kind.type_domain
                found = {types.builtin_to_string(item) for item in domain}
                assert {words.get(item, item) for item in found} >= set(dtypes), (level, code, operand)


def test_every_operation_of_the_rules_stands_in_the_table() -> None:
    import re
    from pathlib import Path

    from edgekit.targets.coreml import rules

    folder = Path(str(rules.__file__)).parent
    text = "\n".join(path.read_text(encoding="utf-8") for path in folder.glob("*.py"))
    named = set(re.findall(r'call\.(?:emit|add|add_several)\(\s*"([a-z0-9_]+)"', text))
    known = {code for rows in table().values() for code in rows}
    assert named
    assert named <= known


def test_each_device_has_a_deployment_target_for_every_software() -> None:
    from edgekit.profiles.loader import load_device
    from edgekit.target import Job
    from edgekit.targets.coreml.deployment import level_of

    names = set()
    for path in TARGET.devices():
        for software in load_device(path).versions:
            assert level_of(Job(load_device(path, software), "fp16")) in (15, 16, 17, 18, 26)
        names.add(path.stem)
    assert names == {
        "generic-coreml", "iphone-15-pro", "iphone-16-pro", "iphone-17-pro", "ipad-pro-m4", "macbook-m4",
    }  # fmt: skip


def test_text_is_refused_by_its_name_with_a_way_out_of_its_own() -> None:
    ports = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.STRING, [2]) for name in "xy"]
    nodes = [onnx.helper.make_node("StringNormalizer", ["x"], ["y"])]
    graph = onnx.helper.make_graph(nodes, "g", ports[:1], ports[1:])
    gaps = errors_of(
        onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    )
    assert gaps[0].rule == "it is string, which Core ML cannot hold"
    assert "in your app" in gaps[0].way_out
