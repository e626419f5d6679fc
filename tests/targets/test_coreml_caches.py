"""A decoder's cache in states: steps that are fed no past give what ONNX gives with the past fed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit.errors import UsageError
from edgekit.targets.coreml.package_io import read_ports
from tests.converted import run as run_cli
from tests.models import run_onnx
from tests.targets.coreml_models import Ask, build, errors_of, open_saved, read_back

if TYPE_CHECKING:
    from pathlib import Path

PLACES, WIDTH = 6, 4
RNG = np.random.default_rng(83)
CACHE = {"cache": "past_length"}


def decoder(places: int | str = PLACES, new: int = 1) -> onnx.ModelProto:
    """One token `x` behind `past_length` others -> `y`; of `past_k` only those places are read."""
    weights: dict[str, np.ndarray] = {
        "wk": (RNG.standard_normal((WIDTH, WIDTH)) / 2).astype(np.float32),
        "wq": (RNG.standard_normal((WIDTH, WIDTH)) / 2).astype(np.float32),
        "order": np.arange(PLACES).reshape(1, PLACES, 1),
        "own": np.ones((1, new, 1), np.bool_),
        "zero": np.array(0, np.float32),
        "low": np.array(-1e4, np.float32),
    }
    steps: list[tuple[Any, ...]] = [
        ("MatMul", "x", "wk", "new_k"),
        ("Concat", "past_k", "new_k", "keys"),
        ("Less", "order", "past_length", "before"),
        ("Concat", "before", "own", "seen"),
        ("Transpose", "seen", "seen_t"),
        ("Where", "seen_t", "zero", "low", "mask"),
        ("Transpose", "keys", "kt"),
        ("MatMul", "x", "wq", "q"),
        ("MatMul", "q", "kt", "raw"),
        ("Add", "raw", "mask", "scores"),
        ("Softmax", "scores", "p"),
        ("MatMul", "p", "keys", "y"),
    ]
    more: dict[str, dict[str, Any]] = {
        "Transpose": {"perm": [0, 2, 1]},
        "Softmax": {"axis": -1},
        "Concat": {"axis": 1},
    }
    nodes = [helper.make_node(op, rest[:-1], [rest[-1]], rest[-1], **more.get(op, {})) for op, *rest in steps]
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "g",
        [
            info("x", TensorProto.FLOAT, [1, new, WIDTH]),
            info("past_length", TensorProto.INT64, [1]),
            info("past_k", TensorProto.FLOAT, [1, places, WIDTH]),
        ],
        [info("y", TensorProto.FLOAT, [1, new, WIDTH]), info("new_k", TensorProto.FLOAT, [1, new, WIDTH])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def token(place: int) -> dict[str, np.ndarray]:
    return {"x": RNG.standard_normal((1, 1, WIDTH)).astype(np.float32), "past_length": np.array([place])}


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_cache_that_grows_from_step_to_step_stays_on_the_device(precision: Any, tmp_path: Path) -> None:
    source = decoder()
    artifact = build(source, tmp_path, Ask(precision, "ios-18", CACHE))
    session = open_saved(artifact, tmp_path)
    past = np.zeros((1, PLACES, WIDTH), np.float32)
    for place in range(PLACES):
        feeds = token(place)
        want = run_onnx(source, {**feeds, "past_k": past})
        got = session.run(feeds)
        assert got.keys() == want.keys()
        for name, array in want.items():
            np.testing.assert_allclose(got[name], array, atol=4e-3)
        past[:, place] = want["new_k"][:, 0]
    assert read_back(tmp_path / artifact.main).codes.count("slice_update") == 1


def test_the_package_holds_the_cache_as_a_state_and_what_is_new_as_an_output(tmp_path: Path) -> None:
    artifact = build(decoder(), tmp_path, Ask("fp16", "ios-18", CACHE))
    inputs, outputs = read_ports(tmp_path / artifact.main)
    assert [(port.source, port.dtype) for port in inputs] == [
        ("x", "float32"),
        ("past_length", "int32"),
        ("past_k", "state"),
    ]
    assert {port.source for port in outputs} == {"y", "new_k"}
    assert any("past_k" in note for note in artifact.notes)


def test_a_convert_with_a_cache_is_proven_like_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cache"))
    onnx.save(decoder(), tmp_path / "d.onnx")
    for index in range(4):
        past = RNG.random((1, PLACES, WIDTH), np.float32)
        np.savez(tmp_path / f"{index}.npz", allow_pickle=False, past_k=past, **token(index))
    wish = ["-t", "coreml@ios-18", "--precision", "fp16", "--samples", str(tmp_path)]
    held = ["--option", "coreml.cache=past_length", "-o", str(tmp_path / "out")]
    result = run_cli("convert", tmp_path / "d.onnx", *wish, *held)
    assert result.exit_code == 0, result.output
    job = json.loads((tmp_path / "out" / "generic-coreml" / "mac" / "job.json").read_text(encoding="utf-8"))
    assert [row["dtype"] for row in job["artifacts"][0]["inputs"]] == ["float32", "int32", "state"]


@pytest.mark.parametrize(
    ("cache", "model", "words"),
    [
        ("length", decoder(), "no such input"),
        ("x", decoder(), "'x' is not one integer"),
        ("past_length", decoder(new=2), "is no cache"),
    ],
)
def test_a_cache_that_the_model_has_not_is_a_wrong_option(
    cache: str, model: onnx.ModelProto, words: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=words):
        build(model, tmp_path, Ask("fp16", "ios-18", {"cache": cache}))


def test_an_older_deployment_target_has_no_cache() -> None:
    (gap,) = errors_of(decoder(), Ask(software="ios-17", options=CACHE))
    assert gap.rule.startswith("a state needs iOS 18 / macOS 15")
