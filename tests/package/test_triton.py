from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime as ort
import pytest

import edgekit
from edgekit.errors import BundleError, OutputError, TargetError, UsageError
from tests.converted import make_bundle, read_tree, run

if TYPE_CHECKING:
    from pathlib import Path


# Its messages are made when it is imported, so that no type checker knows them.
TRITON: Any = import_module("tritonclient.grpc.model_config_pb2")


def parse(text: str) -> Any:
    """A configuration as Triton itself reads it."""
    from google.protobuf import text_format

    return text_format.Parse(text, TRITON.ModelConfig())


def test_a_repository_holds_a_model_a_variant_that_triton_can_read_and_onnxruntime_runs(
    tmp_path: Path,
) -> None:
    bundle = make_bundle(tmp_path, "ort-mobile")
    before = read_tree(bundle)
    made = edgekit.package(bundle, "triton", tmp_path / "models", name="toy")
    assert read_tree(bundle) == before
    assert sorted(path.name for path in (tmp_path / "models").iterdir()) == ["toy-fp32", "toy-int8"]
    config = parse((tmp_path / "models" / "toy-int8" / "config.pbtxt").read_text())
    assert (config.name, config.backend, config.max_batch_size) == ("toy-int8", "onnxruntime", 0)
    assert [(item.name, list(item.dims)) for item in config.input] == [("x", [1, 3, 16, 16])]
    assert [(item.name, list(item.dims)) for item in config.output] == [("y", [1, 10])]
    assert config.input[0].data_type == TRITON.TYPE_FP32
    assert config.parameters["edgekit_bundle"].string_value == made.bundle
    model = tmp_path / "models" / "toy-int8" / "1" / config.default_model_filename
    session = ort.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    warm = config.model_warmup[0].inputs["x"]
    raw = (tmp_path / "models" / "toy-int8" / "warmup" / warm.input_data_file).read_bytes()
    x = np.frombuffer(raw, np.float32).reshape(list(warm.dims))
    golden = np.load(bundle / "golden" / "model" / "000" / "inputs-0.npy")
    assert np.array_equal(x, golden)
    (got,) = session.run(None, {"x": x})
    assert np.asarray(got).shape == (1, 10)


def test_a_jetson_bundle_prepares_the_engines_place_and_says_that_none_is_there(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path, "jetson-orin")
    made = edgekit.package(bundle, "triton", tmp_path / "models", variants="int8")
    assert sorted(path.name for path in (tmp_path / "models").iterdir()) == ["model-engine", "model-int8"]
    engine = tmp_path / "models" / "model-engine"
    assert not (engine / "config.pbtxt").exists()
    config = parse((engine / "config.pbtxt.template").read_text())
    assert (config.backend, config.default_model_filename) == ("tensorrt", "model.plan")
    assert "device/run.sh" in (engine / "README.md").read_text()
    assert any("no engine is in it" in note for note in made.notes)


def test_what_triton_cannot_run_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path, "litert")
    with pytest.raises(TargetError, match=r"triton runs no \.tflite file"):
        edgekit.package(bundle, "triton", tmp_path / "models")
    assert not (tmp_path / "models").exists()
    assert not list(tmp_path.glob(".edgekit-*"))


def test_bad_words_are_told_with_the_way_out(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path, "ort-mobile")
    with pytest.raises(UsageError, match="did you mean 'triton'"):
        edgekit.package(bundle, "tritn", tmp_path / "models")
    with pytest.raises(UsageError, match="no variant 'fp64'"):
        edgekit.package(bundle, "triton", tmp_path / "models", variants="fp64")
    with pytest.raises(UsageError, match="the whole bundle"):
        edgekit.package(bundle, "oci", tmp_path / "models", variants="int8")
    with pytest.raises(UsageError, match="cannot name a model"):
        edgekit.package(bundle, "triton", tmp_path / "models", name="../up")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "mine").write_text("keep")
    with pytest.raises(OutputError, match="exists"):
        edgekit.package(bundle, "triton", tmp_path / "models")
    assert (tmp_path / "models" / "mine").read_text() == "keep"
    (bundle / "model.int8.ort").write_bytes(b"changed")
    with pytest.raises(BundleError, match=r"model\.int8\.ort"):
        edgekit.package(bundle, "triton", tmp_path / "other")


def test_the_command_prints_what_it_wrote(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path, "ort-mobile")
    done = run("package", bundle, "--as", "triton", "-o", tmp_path / "models", "--variant", "int8")
    assert done.exit_code == 0
    assert "triton: 3 files of bundle" in done.stdout
    refused = run("package", bundle, "--as", "triton", "-o", tmp_path / "models")
    assert refused.exit_code == 1


def test_strings_survive_tritons_own_parser() -> None:
    from edgekit._package.text_proto import render_message

    name = 'a"b\\c\nd\t\x7fé\u2028 { } # "'
    text = render_message({"name": name, "input": [{"name": name, "dims": [1, -1]}]})
    config = parse(text)
    assert config.name == name
    assert config.input[0].name == name
    assert list(config.input[0].dims) == [1, -1]
