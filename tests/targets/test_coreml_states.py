"""Inputs that Core ML keeps from run to run: a decoder with a cache of fixed size."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit.errors import UsageError
from edgekit.targets.coreml.mac_side import write_mac_side
from edgekit.targets.coreml.package_io import read_ports
from tests.converted import run as run_cli
from tests.models import run_onnx
from tests.targets.coreml_mac import Interpreted, fake_coremltools, load_script, scripts_on_path
from tests.targets.coreml_models import Ask, build, errors_of, open_saved, read_back

if TYPE_CHECKING:
    from pathlib import Path

PLACES, WIDTH = 6, 4
RNG = np.random.default_rng(71)
HELD = Ask("fp32", "ios-18", {"states": "past=present"})
EMPTY = np.zeros((1, PLACES, WIDTH), np.float32)


def decoder(places: int = PLACES) -> onnx.ModelProto:
    """One token `x` at the place `pos` -> `y`; `present` is `past` with the token's key at that place."""
    weights: dict[str, np.ndarray] = {
        "wk": (RNG.standard_normal((WIDTH, WIDTH)) / 2).astype(np.float32),
        "wq": (RNG.standard_normal((WIDTH, WIDTH)) / 2).astype(np.float32),
        "places": np.arange(places).reshape(1, places, 1),
        "zero": np.array(0, np.float32),
        "low": np.array(-1e4, np.float32),
    }
    steps: list[tuple[Any, ...]] = [
        ("MatMul", "x", "wk", "k"),
        ("Equal", "places", "pos", "here"),
        ("Where", "here", "k", "past", "present"),
        ("LessOrEqual", "places", "pos", "seen"),
        ("Transpose", "seen", "seen_t"),
        ("Where", "seen_t", "zero", "low", "mask"),
        ("Transpose", "present", "kt"),
        ("MatMul", "x", "wq", "q"),
        ("MatMul", "q", "kt", "raw"),
        ("Add", "raw", "mask", "scores"),
        ("Softmax", "scores", "p"),
        ("MatMul", "p", "present", "y"),
    ]
    more: dict[str, dict[str, Any]] = {"Transpose": {"perm": [0, 2, 1]}, "Softmax": {"axis": -1}}
    nodes = [helper.make_node(op, rest[:-1], [rest[-1]], rest[-1], **more.get(op, {})) for op, *rest in steps]
    info = helper.make_tensor_value_info
    cache = [1, places, WIDTH]
    graph = helper.make_graph(
        nodes,
        "g",
        [
            info("x", TensorProto.FLOAT, [1, 1, WIDTH]),
            info("pos", TensorProto.INT64, [1]),
            info("past", TensorProto.FLOAT, cache),
        ],
        [info("y", TensorProto.FLOAT, [1, 1, WIDTH]), info("present", TensorProto.FLOAT, cache)],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def token(place: int) -> dict[str, np.ndarray]:
    return {"x": RNG.standard_normal((1, 1, WIDTH)).astype(np.float32), "pos": np.array([place])}


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_cache_in_states_goes_on_from_run_to_run_as_onnx_fed_with_it(
    precision: Any, tmp_path: Path
) -> None:
    model = decoder()
    artifact = build(model, tmp_path, Ask(precision, HELD.software, HELD.options))
    codes = read_back(tmp_path / artifact.main).codes
    assert codes.count("read_state") >= 1
    assert codes.count("write_state") == 1
    session, past = open_saved(artifact, tmp_path), EMPTY
    for place in range(4):
        feeds = token(place)
        want = run_onnx(model, {**feeds, "past": past})
        past, got = want["present"], session.run(feeds)
        assert set(got) == {"y", "present"}
        for name, value in want.items():  # a state is float16
            np.testing.assert_allclose(got[name], value, rtol=2e-3, atol=4e-3)
    # What is fed under the input's name is what the state holds then, whatever it held before.
    feeds = token(0)
    again = session.run({**feeds, "past": EMPTY})
    want = run_onnx(model, {**feeds, "past": EMPTY})
    np.testing.assert_allclose(again["present"], want["present"], rtol=2e-3, atol=2e-3)


def test_a_convert_with_states_is_proven_like_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cache"))
    onnx.save(decoder(), tmp_path / "d.onnx")
    for index in range(4):
        np.savez(
            tmp_path / f"{index}.npz",
            allow_pickle=False,
            past=RNG.random(EMPTY.shape, np.float32),
            **token(3),
        )
    wish = ["-t", "coreml@ios-18", "--precision", "fp16", "--samples", str(tmp_path)]
    held = ["--option", "coreml.states=past=present", "-o", str(tmp_path / "out")]
    result = run_cli("convert", tmp_path / "d.onnx", *wish, *held)
    assert result.exit_code == 0, result.output
    assert "proven on" in result.stdout
    manifest = (tmp_path / "out" / "generic-coreml" / "manifest.json").read_text(encoding="utf-8")
    assert "states in float16, kept from run to run: past" in manifest


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("future=present", "the model has no input 'future'"),
        ("past=future", "the model has no output 'future'"),
        ("pos=present", "'pos' INT64"),
        ("x=present", "are no state: it keeps its shape"),
        ("past=present;x=y", "leaves the model no output"),
        ("past=y;x=y", "one output for two inputs"),
        ("past", "names no input"),
    ],
)
def test_a_pair_that_is_no_state_is_a_wrong_option(option: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=words):
        build(decoder(), tmp_path, Ask(software="ios-18", options={"states": option}))


def test_an_older_deployment_target_has_no_states() -> None:
    (gap,) = errors_of(decoder(), Ask(software="ios-17", options={"states": "past=present"}))
    assert gap.rule.startswith("a state needs iOS 18 / macOS 15")


def test_the_mac_side_names_the_state_and_writes_a_class_that_keeps_it(tmp_path: Path) -> None:
    artifact = build(decoder(), tmp_path, HELD)
    inputs, outputs = read_ports(tmp_path / artifact.main)
    assert [(port.source, port.dtype, port.result) for port in inputs] == [
        ("x", "float32", ""),
        ("pos", "int32", ""),
        ("past", "state", "present"),
    ]
    assert [port.source for port in outputs] == ["y"]
    files = write_mac_side([artifact], HELD.job, tmp_path)
    (name,) = [name for name in files if name.startswith("mac/Edgekit")]
    code = (tmp_path / name).read_text(encoding="utf-8")
    assert "private var state: MLState" in code
    assert '"past"' not in code


def test_the_mac_scripts_drive_a_cache_as_onnx_fed_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = decoder()
    artifact = build(source, tmp_path, HELD)
    write_mac_side([artifact], HELD.job, tmp_path)
    past = (RNG.integers(-8, 8, EMPTY.shape) / 8).astype(np.float32)  # numbers that float16 holds
    feeds = {**token(2), "past": past}
    want = run_onnx(source, feeds)
    row = json.loads((tmp_path / "mac" / "job.json").read_text(encoding="utf-8"))["artifacts"][0]
    sample: dict[str, dict[str, str]] = {"inputs": {}, "fp32": {}}
    for kind, arrays in (("inputs", feeds), ("fp32", want)):
        for name, array in arrays.items():
            sample[kind][name] = str(tmp_path / f"{kind}-{name}.npy")
            np.save(sample[kind][name], array)
    with scripts_on_path(monkeypatch):
        golden, core_ml, bundle = (load_script(name) for name in ("golden", "core_ml", "bundle"))
        described = bundle.Artifact(SimpleNamespace(folder=lambda name, files: tmp_path / name), row)
        loaded = core_ml.LoadedModel(Interpreted(str(tmp_path / artifact.main)), "all")
        found = golden.compare_golden(described, [sample], loaded)
        assert found.keys() == {("fp32", "y"), ("fp32", "present")}
        assert max(figures["max_abs"] for figures in found.values()) < 1e-3
        run = loaded.prepare(golden.load_feeds(described, sample), golden.load_states(described, sample))
        np.testing.assert_allclose(run()["y"], want["y"], atol=1e-3)


def test_the_profilers_runner_drives_a_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = decoder()
    package = str(tmp_path / build(source, tmp_path, HELD).main)
    fake: Any = fake_coremltools()
    fake.models.MLModel = lambda path, compute_units: Interpreted(path)
    monkeypatch.setitem(sys.modules, "coremltools", fake)
    with scripts_on_path(monkeypatch):
        run_core_ml = load_script("run_core_ml")
        with monkeypatch.context() as mac:
            mac.setattr(run_core_ml.sys, "platform", "darwin")
            model = run_core_ml.open_model(package, 1)
    feeds = {**token(1), "past": (RNG.integers(-8, 8, EMPTY.shape) / 8).astype(np.float32)}
    got, want = model.run(feeds), run_onnx(source, feeds)
    assert got.keys() == want.keys()
    for name in want:
        np.testing.assert_allclose(got[name], want[name], atol=1e-3)
    timed = model.prepare(feeds)
    np.testing.assert_allclose(timed()["y"], want["y"], atol=1e-3)
