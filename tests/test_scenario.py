"""scenario.toml: what is read, and each mistake with the file, the place and the way out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from edgekit._scenario import load_scenario
from edgekit.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

GOOD = """
title = "describe a picture"

[sizes]
prompt = 512
tokens = 128

[component.vision]
file = "vision.onnx"

[component.prefill]
file = "text/prefill.onnx"
shape = { ids = "1,prompt" }

[component.decode]
file = "text/decode.onnx"
cache = ["past_*"]
weights_of = "prefill"

[[step]]
component = "vision"
feeds = "prefill"
phase = "encode"

[[step]]
component = "prefill"
feeds = ["decode"]

[[step]]
component = "decode"
repeat = "tokens"
"""


def _save(folder: Path, text: str) -> Path:
    (folder / "text").mkdir()
    for name in ("vision.onnx", "text/prefill.onnx", "text/decode.onnx"):
        (folder / name).touch()
    path = folder / "scenario.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_request_is_read_with_its_order_and_counts(tmp_path: Path) -> None:
    made = load_scenario(_save(tmp_path, GOOD))
    assert made.title == "describe a picture"
    assert [(step.component, step.repeat, step.phase, step.feeds) for step in made.steps] == [
        ("vision", 1, "encode", ("prefill",)),
        ("prefill", 1, "prefill", ("decode",)),
        ("decode", 128, "decode", ()),
    ]
    assert made.parts["decode"].file == tmp_path / "text" / "decode.onnx"
    assert (made.parts["decode"].cache, made.parts["decode"].weights_of) == (("past_*",), "prefill")
    assert (made.parts["prefill"].shape, made.sizes["prompt"]) == ({"ids": "1,prompt"}, 512)
    assert (made.runs("decode"), made.runs("vision")) == (128, 1)


@pytest.mark.parametrize(
    ("was", "now", "said"),
    [
        ('component = "vision"', 'component = "visoin"', "did you mean 'vision'"),
        ('feeds = "prefill"', 'feeds = "prefil"', "did you mean 'prefill'"),
        ('weights_of = "prefill"', 'weights_of = "body"', "component.decode.weights_of names 'body'"),
        ('repeat = "tokens"', 'repeat = "token"', "repeats 'token' times"),
        ('repeat = "tokens"', "repeat = 0", "repeat is 0"),
        ('repeat = "tokens"', "repeat = 1.5", "repeat is 1.5"),
        ("prompt = 512", "prompt = -1", "sizes.prompt is -1"),
        ("prompt = 512", "prompt = true", "sizes.prompt is True"),
        ("[sizes]", "[size]", "did you mean 'sizes'"),
        ('phase = "encode"', 'phase = "vision"', "use one of encode, prefill, decode"),
        ('cache = ["past_*"]', "cache = 3", "component.decode.cache"),
        ('file = "vision.onnx"', 'file = "visoin.onnx"', "'visoin.onnx' of component.vision is missing"),
        ('file = "vision.onnx"', 'file = "../vision.onnx"', "leaves its folder"),
        ('file = "vision.onnx"', 'fil = "vision.onnx"', "did you mean 'file'"),
        ('[[step]]\ncomponent = "prefill"\nfeeds = ["decode"]', "", "no step runs component 'prefill'"),
        ('title = "describe a picture"', "title = ", "is not TOML"),
    ],
)
def test_a_mistake_names_its_place_and_the_way_out(tmp_path: Path, was: str, now: str, said: str) -> None:
    path = _save(tmp_path, GOOD.replace(was, now, 1))
    with pytest.raises(UsageError, match=r"scenario ") as caught:
        load_scenario(path)
    assert said in str(caught.value)


def test_a_file_behind_a_link_can_not_leave_the_folder(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    path = _save(inside, GOOD)
    (tmp_path / "else.onnx").touch()
    (inside / "vision.onnx").unlink()
    (inside / "vision.onnx").symlink_to(tmp_path / "else.onnx")
    with pytest.raises(UsageError, match="leaves its folder"):
        load_scenario(path)


def test_a_missing_scenario_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.toml' cannot be read"):
        load_scenario(tmp_path / "none.toml")


@pytest.mark.parametrize("text", ["", "component = 3", "[component.a]\nfile = 'vision.onnx'"])
def test_a_scenario_without_components_or_steps_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match=r"component|step"):
        load_scenario(_save(tmp_path, text))
