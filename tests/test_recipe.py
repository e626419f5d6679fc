"""Recipes: what a person types becomes one frozen value, and survives a trip through a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgekit._budget import Limit
from edgekit._recipe import GATE_LIMITS, Recipe
from edgekit._recipe_file import load_recipe, save_recipe
from edgekit._recipe_values import parse_shapes
from edgekit._values import DimRange
from edgekit.errors import UsageError


def fixed(*sizes: int) -> tuple[DimRange, ...]:
    return tuple(DimRange(size, size) for size in sizes)


def test_one_text_and_a_sequence_of_texts_give_the_same_targets() -> None:
    assert Recipe.of("m.onnx", targets="jetson-orin") == Recipe.of("m.onnx", targets=["jetson-orin"])
    assert Recipe.of("m.onnx", targets=["a", "b", "a"]).targets == ("a", "b")


def test_the_output_folder_follows_the_model_unless_it_is_named() -> None:
    assert Recipe.of("some/M.onnx").output_folder == Path("M-edgekit")
    assert Recipe.of("some/M.onnx", output="out").output_folder == Path("out")


@pytest.mark.parametrize(
    ("text", "name", "dims"),
    [
        ("x=1,3,48,320", "x", fixed(1, 3, 48, 320)),
        ("x=1..8,3,48,32..640", "x", (DimRange(1, 8), *fixed(3, 48), DimRange(32, 640))),
        ("scope/x:0=2", "scope/x:0", fixed(2)),
        ("a=b=4,5", "a=b", fixed(4, 5)),
        ("scalar=", "scalar", ()),
    ],
)
def test_a_shape_is_split_at_its_last_equals_sign(text: str, name: str, dims: tuple[DimRange, ...]) -> None:
    assert parse_shapes([text]) == {name: dims}


@pytest.mark.parametrize(
    "text", ["x", "=1,2", "x=1,,2", "x=0,3", "x=-1,3", "x=8..1", "x=1...8", "x=a", "x=1.5", "x=٣", "x=1,?"]
)
def test_a_bad_shape_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match="--shape NAME=1,3,48,320"):
        parse_shapes([text])


def test_two_shapes_for_one_input_are_refused() -> None:
    with pytest.raises(UsageError, match="given two shapes"):
        parse_shapes(["x=1", "x=2"])


def test_shapes_in_python_may_be_numbers_and_ranges() -> None:
    assert parse_shapes({"x": [1, "1..8", DimRange(2, 3)]}) == {
        "x": (DimRange(1, 1), DimRange(1, 8), DimRange(2, 3))
    }


def test_top1_may_be_a_share_or_a_percentage() -> None:
    assert Recipe.of("m", gate={"min_top1": "90%"}).gate == {"min_top1": 0.9}
    assert Recipe.of("m", gate={"min_top1": 0.9}).gate == {"min_top1": 0.9}
    with pytest.raises(UsageError, match="within 0 and 1"):
        Recipe.of("m", gate={"min_top1": 90})


def test_the_gate_limits_are_those_of_the_gate() -> None:
    from edgekit._verify import LIMITS

    assert GATE_LIMITS == LIMITS


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"precisions": "int9"}, "did you mean 'int8'"),
        ({"scheme": "portble"}, "did you mean 'portable'"),
        ({"golden": "some"}, "choose from samples, random"),
        ({"golden_count": 0}, "whole number"),
        ({"golden_count": True}, "whole number"),
        ({"gate": {"min_sqnr_db": float("nan")}}, "finite number"),
        ({"gate": {"min_sqnr_db": True}}, "finite number"),
        ({"gate": {"min_sqnr": 3}}, "did you mean 'min_sqnr_db'"),
        ({"limit": 0}, "whole number"),
        ({"archive": "yes"}, "true or false"),
        ({"targets": ["", "a"]}, "no name"),
        ({"samples": 3}, "not text"),
        ({"target": "a"}, "did you mean 'targets'"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused_with_a_way_out(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Recipe.of("m.onnx", **options)


FULL: dict[str, Any] = {
    "targets": ["jetson-orin", "ort-mobile@ort-1.23"],
    "precisions": ["int8", "fp16"],
    "observer": "entropy",
    "preprocess": {"size": [48, 320], "mean": [0.5, 0.5, 0.5], "layout": "NCHW", "letterbox": True},
    "bind": {"sr": "16000"},
    "shapes": {"scope/x:0": "1..8,3,48,32..640", "y": [2]},
    "budget": "latency=50ms,p90_latency=0.1s,power=15W,memory=2GiB,size=20.5MB,energy=5mJ",
    "scheme": "native",
    "float_nodes": ['/head/"odd"\n\x7f\\node', "ünï😀"],
    "only_ops": ["Conv"],
    "rounding": "adaround",
    "metric": "top1",
    "gate": {"min_sqnr_db": 12.5, "min_top1": 0.95},
    "limit": 32,
    "golden": "random",
    "golden_count": 8,
    "archive": True,
    "options": {"workspace": 64},
}


def test_a_recipe_is_the_same_after_a_trip_through_a_file(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    recipe = Recipe.of(tmp_path / "m.onnx", samples=str(tmp_path / "data"), output=tmp_path / "out", **FULL)
    save_recipe(recipe, tmp_path / "edgekit.toml")
    assert load_recipe(tmp_path / "edgekit.toml") == recipe


def test_paths_in_a_recipe_move_with_its_folder(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    (old / "data").mkdir(parents=True)
    save_recipe(Recipe.of(old / "m.onnx", samples=old / "data"), old / "edgekit.toml")
    old.rename(new)
    moved = load_recipe(new / "edgekit.toml")
    assert (moved.model, moved.samples) == (new / "m.onnx", str(new / "data"))


def test_typed_options_take_the_place_of_the_files(tmp_path: Path) -> None:
    path = tmp_path / "edgekit.toml"
    path.write_text('model = "m.onnx"\ntargets = ["a"]\ngolden_count = 2\n')
    recipe = load_recipe(path, targets=["b"], overwrite=True)
    assert (recipe.targets, recipe.golden_count, recipe.overwrite) == (("b",), 2, True)


def test_typed_tables_change_only_the_keys_they_name(tmp_path: Path) -> None:
    path = tmp_path / "edgekit.toml"
    path.write_text('[gate]\nmin_top1 = 0.5\nmin_sqnr_db = 3\n[budget]\nlatency = "5ms"\n')
    recipe = load_recipe(path, "other.onnx", gate={"min_sqnr_db": 9}, budget="power=2W")
    assert recipe.model == Path("other.onnx")
    assert recipe.gate == {"min_top1": 0.5, "min_sqnr_db": 9.0}
    assert recipe.budget == {"latency": Limit(5.0, "ms"), "power": Limit(2.0, "W")}


@pytest.mark.parametrize("key", ["samples", "metric"])
def test_code_named_in_a_file_needs_trust(tmp_path: Path, key: str) -> None:
    path = tmp_path / "edgekit.toml"
    path.write_text(f'model = "m.onnx"\n{key} = "os:system"\n')
    with pytest.raises(UsageError, match="--trust"):
        load_recipe(path)
    assert getattr(load_recipe(path, trust="code"), key) == "os:system"
    typed: dict[str, Any] = {key: "random"}
    assert getattr(load_recipe(path, **typed), key) == "random"


def test_a_folder_with_a_colon_is_a_folder_and_not_code(tmp_path: Path) -> None:
    (tmp_path / "data:v1").mkdir()
    path = tmp_path / "edgekit.toml"
    path.write_text('model = "m.onnx"\nsamples = "data:v1"\n')
    assert load_recipe(path).samples == str(tmp_path / "data:v1")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('model = "m"\ntarget = ["a"]', "did you mean 'targets'"),
        ('targets = ["a"]', "names no model"),
        ('model = "m"\noverwrite = true', "type --overwrite"),
        ('model = "m"\ncache = "/"', "type --no-cache"),
        ('model = "m"\nversion = 2', "not of version 1"),
        ("model = ", "not TOML"),
        ('model = "\udcff"', "not TOML"),
        ("x = " + "[" * 20_000, "not TOML"),
        ("#" * 1_000_001, "larger than"),
        ('model = "m"\n[budget]\nlatency = 50', "units of latency"),
        ('model = "m"\nshapes = 3', "shape"),
        ('model = "m"\nbudget = 3', "budget"),
        ('model = "m"\noptions = 3', "options"),
        ('model = "m"\noutput = 3', "output"),
        ('model = "m"\ntargets = 3', "targets 3 has the wrong form"),
        ('model = "m"\n[shapes]\nx = 3', "shapes"),
    ],
)
def test_a_bad_recipe_file_is_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "edgekit.toml"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(UsageError, match=words):
        load_recipe(path)


def test_a_missing_recipe_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        load_recipe(tmp_path / "none.toml")


def test_a_python_function_cannot_be_saved(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="module:function"):
        save_recipe(Recipe.of("m.onnx", samples=list), tmp_path / "edgekit.toml")
    assert not (tmp_path / "edgekit.toml").exists()


def test_a_budget_is_kept_in_the_units_of_its_metric() -> None:
    assert Recipe.of("m", budget="latency=0.05s,memory=2GB").budget == {
        "latency": Limit(50.0, "ms"),
        "memory": Limit(2e9, "B"),
    }
