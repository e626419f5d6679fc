"""Broken models, samples and options through the command line: one line that names it, a way out, no file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.converted import ORT, make_workspace, read_tree, run
from tests.models import toy_cnn

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return make_workspace(tmp_path)


def edit(place: Path, change: Callable[[onnx.ModelProto], None]) -> None:
    """Change the model in the workspace."""
    proto = toy_cnn()
    change(proto)
    (place / "m.onnx").write_bytes(proto.SerializeToString())


def give(place: Path, **arrays: np.ndarray) -> None:
    """Replace the samples by one of these arrays."""
    for path in (place / "data").iterdir():
        path.unlink()
    np.savez(place / "data" / "only.npz", allow_pickle=False, **arrays)


def truncate(place: Path) -> None:
    data = (place / "m.onnx").read_bytes()
    (place / "m.onnx").write_bytes(data[: len(data) // 2])


def replace_by_text(place: Path) -> None:
    (place / "m.onnx").write_text("I am a photograph\n" * 100)


def use_unknown_op(place: Path) -> None:
    def change(proto: onnx.ModelProto) -> None:
        proto.graph.node[0].op_type = "Konv"

    edit(place, change)


def use_unknown_domain(place: Path) -> None:
    def change(proto: onnx.ModelProto) -> None:
        proto.graph.node[0].domain = "com.acme"
        proto.opset_import.append(helper.make_opsetid("com.acme", 1))

    edit(place, change)


def poison_weights(place: Path) -> None:
    def change(proto: onnx.ModelProto) -> None:
        weight = proto.graph.initializer[0]
        array = numpy_helper.to_array(weight).copy()
        array.reshape(-1)[0] = np.nan
        weight.CopyFrom(numpy_helper.from_array(array, weight.name))

    edit(place, change)


def free_batch(place: Path) -> None:
    (place / "m.onnx").write_bytes((place / "batch.onnx").read_bytes())


def externalize(location: str) -> Callable[[Path], None]:
    def prepare(place: Path) -> None:
        (place.parent / "secret.bin").write_bytes(bytes(4096))

        def change(proto: onnx.ModelProto) -> None:
            weight = next(item for item in proto.graph.initializer if item.name == "conv1.w")
            weight.ClearField("raw_data")
            weight.data_location = TensorProto.EXTERNAL
            weight.external_data.add(key="location", value=location)

        edit(place, change)

    return prepare


def sample(**arrays: np.ndarray) -> Callable[[Path], None]:
    return lambda place: give(place, **arrays)


def empty_data(place: Path) -> None:
    for path in (place / "data").iterdir():
        path.unlink()


def pickle_data(place: Path) -> None:
    give(place)
    np.save(place / "data" / "evil.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    (place / "data" / "only.npz").unlink()


ONES = np.ones((1, 3, 16, 16), np.float32)

CASES: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "truncated": (truncate, "m.onnx", "export"),
    "text": (replace_by_text, "m.onnx", ""),
    "missing weights": (externalize("gone.bin"), "'gone.bin' (tensor 'conv1.w') is missing", ""),
    "climbing weights": (externalize("../secret.bin"), "isn't a path inside the model's folder", ""),
    "absolute weights": (externalize("/etc/passwd"), "isn't a path inside the model's folder", ""),
    "unknown op": (use_unknown_op, "Konv 'conv1'", ""),
    "unknown domain": (use_unknown_domain, "Conv 'conv1' comes from domain 'com.acme'", ""),
    "NaN weights": (poison_weights, "holds NaN", ""),
    "free dim": (free_batch, "input 'x' [batch, 3, 16, 16] has no size on axis 0", "--shape x=1,3,16,16"),
    "wrong shape": (sample(x=ONES[:, :, :8]), "'only.npz', input 'x' has shape [1, 3, 8, 16]", "--shape"),
    "wrong dtype": (sample(x=ONES.astype(np.uint8)), "has dtype uint8, expected float32", "divide pixels"),
    "wrong name": (sample(image=ONES), "has inputs 'image', the model reads 'x'", "edgekit inspect"),
    "NaN sample": (sample(x=ONES * np.nan), "768 values are NaN or infinite", "mend"),
    "no samples": (empty_data, "holds no images, .npz or .npy files", "folder"),
    "pickle": (pickle_data, "'evil.npy' cannot be read", "no Python objects"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_broken_is_refused_on_one_line_with_a_way_out_and_nothing_is_written(
    case: str, place: Path
) -> None:
    prepare, problem, way_out = CASES[case]
    prepare(place)
    words = ("convert", "m.onnx", "-t", "ort-mobile", "-t", "jetson-orin", "--samples", "data", "-o", "out")
    result = run(*words, "--json")
    error = json.loads(result.stdout)["error"]
    assert result.exit_code == error["exit_code"] == 1
    assert problem in error["problem"]
    assert way_out in error["way_out"]
    assert error["way_out"]
    assert [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in result.output
    assert "bug in edgekit" not in result.output
    assert not (place / "out").exists()


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("convert", "m.onnx"), "no target is given"),
        (("convert", "m.onnx", "-t", "ort-mobile", "--samples", "data", "--only", "Konv"), "mean 'Conv'"),
        (("convert", "m.onnx", "-t", "jetson-orin@jetpack-9.9"), "no software 'jetpack-9.9'"),
        (("convert", "m.onnx", "-t", "ort-mobile", "--precision", "int8"), "INT8 needs samples"),
        (("convert", "m.onnx", "-t", "ort-mobile", "--precision", "int7"), "did you mean 'int8'"),
        (("convert", "m.onnx", "-t", "ort-mobile", "--shape", "x"), "NAME=1,3,48,320"),
        (("convert", "m.onnx", "-t", "ort-mobile", "--budget", "speed=3"), "speed"),
        (("convert", "m.onnx", "-t", "ort-mobile", "--nonsense"), "--nonsense"),
        (("convert",), "no model is given"),
    ],
    ids=lambda value: "" if isinstance(value, tuple) else value,
)
def test_a_wrong_command_line_is_exit_2_and_writes_nothing(
    words: tuple[str, ...], problem: str, place: Path
) -> None:
    before = read_tree(place)
    result = run(*words)
    assert result.exit_code == 2
    assert problem in result.stderr
    assert "way out:" in result.stderr
    assert {name for name in read_tree(place) if not name.startswith("cache/")} == set(before)


@pytest.mark.parametrize(
    ("words", "code", "problem"),
    [
        (("--float", "conv11"), 1, "did you mean 'conv1'"),
        (("-t", "jetson-orim"), 2, "did you mean jetson-orin"),
        (("--shape", "y=1,3,16,16"), 1, "did you mean 'x'"),
        (("--shape", "x=2,3,16,16"), 1, "axis 0 is 1 in the model"),
        (("--shape", "x=1,3,16"), 1, "dims"),
    ],
)
def test_a_name_the_model_has_not_is_answered_with_the_nearest_one(
    words: tuple[str, ...], code: int, problem: str, place: Path
) -> None:
    result = run("convert", "m.onnx", "-t", "ort-mobile", "--samples", "data", "-o", "out", *words)
    assert result.exit_code == code
    assert problem in result.stderr
    assert not (place / "out").exists()


def test_names_out_of_a_model_reach_no_path_no_terminal_and_no_shell(place: Path) -> None:
    evil = "../../\x1b[2J$(touch owned);'`"

    def change(proto: onnx.ModelProto) -> None:
        for node in proto.graph.node:
            node.name = f"{evil}{node.name}"

    edit(place, change)
    words = ("convert", "m.onnx", "-t", "ort-mobile", "--samples", "data", "-o", "out", "--min-sqnr", "90")
    result = run(*words)
    assert result.exit_code == 1
    assert "\x1b" not in result.output
    assert "--float '../../" in result.stdout
    assert not (place / "owned").exists()
    assert all(".." not in name and "$" not in name for name in read_tree(place / "out" / ORT))
