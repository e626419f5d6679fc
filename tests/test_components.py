"""A folder with one ONNX a component: converted, checked, proven and debugged as one set."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import edgekit
from edgekit._profile import save_profile
from edgekit.errors import EdgekitError
from tests.converted import JETSON, ORT, read_tree, run
from tests.models import run_onnx
from tests.reports.test_feasibility import hand_made, verdicts

if TYPE_CHECKING:
    from pathlib import Path

    from edgekit._profile import ArtifactProfile, Profile

SIZE = 48
SCENARIO = """
[sizes]
tokens = 8
[component.encode]
file = "encode.onnx"
[component.step]
file = "step.onnx"
weights_of = "encode"
[[step]]
component = "encode"
feeds = "step"
[[step]]
component = "step"
repeat = "tokens"
feeds = "step"
"""


def component_model(inputs: dict[str, list[int | str]], *, shift: float) -> onnx.ModelProto:
    """y = relu((first + second ...) @ shared + own bias); `shared` is the same in every component."""
    random = np.random.default_rng(5)
    shared = (random.standard_normal((SIZE, SIZE)) / 7).astype(np.float32)
    nodes, names = [], list(inputs)
    total = names[0]
    for index, name in enumerate(names[1:]):
        nodes.append(helper.make_node("Add", [total, name], [f"sum{index}"], name=f"add{index}"))
        total = f"sum{index}"
    nodes += [
        helper.make_node("MatMul", [total, "shared"], ["product"], name="mix"),
        helper.make_node("Add", ["product", "bias"], ["shifted"], name="shift"),
        helper.make_node("Relu", ["shifted"], ["y"], name="clip"),
    ]
    bias = np.full(SIZE, shift, np.float32)
    graph = helper.make_graph(
        nodes,
        "component",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, next(iter(inputs.values())))],
        [numpy_helper.from_array(shared, "shared"), numpy_helper.from_array(bias, "bias")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def make_set(folder: Path) -> Path:
    """`set/` with encode (x), step (x, state) and a scenario, and `data/` with a subfolder for each."""
    (folder / "set").mkdir()
    shape: list[int | str] = ["rows", SIZE]
    parts = {"encode": ["x"], "step": ["x", "state"]}
    for number, (name, inputs) in enumerate(parts.items()):
        model = component_model(dict.fromkeys(inputs, shape), shift=0.1 * number)
        (folder / "set" / f"{name}.onnx").write_bytes(model.SerializeToString())
        (folder / "data" / name).mkdir(parents=True)
        random = np.random.default_rng(number)
        for index in range(4):
            feeds = {each: random.standard_normal((2, SIZE)).astype(np.float32) for each in inputs}
            np.savez(folder / "data" / name / f"{index}.npz", allow_pickle=False, **feeds)
    (folder / "set" / "scenario.toml").write_text(SCENARIO)
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The set, and its INT8 bundles for three targets in `out`."""
    place = make_set(tmp_path_factory.mktemp("components"))
    result = edgekit.convert(
        place / "set",
        targets=("jetson-orin", "ort-mobile", "litert"),
        samples=place / "data",
        shapes="rows=2",
        output=place / "out",
        cache="off",
    )
    assert result.passed
    return place


def test_a_bundle_holds_every_component_and_each_computes_what_its_source_does(place: Path) -> None:
    manifest = json.loads((place / "out" / JETSON / "manifest.json").read_text())
    assert [row["name"] for row in manifest["components"]] == ["encode", "step"]
    for name in ("encode", "step"):
        feeds = dict(np.load(place / "data" / name / "0.npz"))
        want = run_onnx(place / "set" / f"{name}.onnx", feeds)["y"]
        for file, atol in ((f"{JETSON}/{name}.fp32.onnx", 1e-5), (f"{ORT}/{name}.int8.ort", 0.1)):
            np.testing.assert_allclose(run_onnx(place / "out" / file, feeds)["y"], want, atol=atol)
        golden = manifest["components"][("encode", "step").index(name)]["golden"]
        assert golden["kind"] == "samples"
        assert len(golden["samples"]) == 4


def test_every_component_has_its_own_scales_record_and_proof(place: Path) -> None:
    bundle = place / "out" / ORT
    manifest = json.loads((bundle / "manifest.json").read_text())
    assert {(row["component"], row["variant"]) for row in manifest["parity"] if row["passed"]} == {
        (name, variant) for name in ("encode", "step") for variant in ("int8", "fp32")
    }
    tables = [json.loads((bundle / f"{name}.scales.json").read_text()) for name in ("encode", "step")]
    records = [json.loads((bundle / f"calibration/{name}.json").read_text()) for name in ("encode", "step")]
    assert tables[0]["record"] != tables[1]["record"]
    assert records[0] != records[1]


def test_weights_that_onnx_components_share_lie_on_disk_once(place: Path) -> None:
    bundle = place / "out" / JETSON
    wide, narrow = SIZE * SIZE * 4, SIZE * SIZE * 2
    files = {path.stat().st_size: path for path in bundle.glob("weights/*.bin")}
    assert set(files) == {wide, narrow}  # float32, and float16 of the fp16 variant
    shared = files[wide]
    kept = np.frombuffer(shared.read_bytes(), np.float32).reshape(SIZE, SIZE)
    for name in ("encode", "step"):
        model = onnx.load(place / "set" / f"{name}.onnx")
        np.testing.assert_array_equal(numpy_helper.to_array(model.graph.initializer[0]), kept)
        assert (bundle / f"{name}.fp32.onnx").stat().st_size < kept.nbytes
    copies = sum(kept.tobytes() in data for data in read_tree(bundle).values())
    assert copies == 1
    manifest = json.loads((bundle / "manifest.json").read_text())
    users = [row["main"] for row in manifest["artifacts"] if f"weights/{shared.name}" in row["files"]]
    assert users == ["encode.fp32.onnx", "step.fp32.onnx"]


def test_a_set_is_verified_inspected_checked_and_planned_by_the_same_commands(place: Path) -> None:
    for device in (JETSON, ORT, "generic-litert"):
        proof = run("verify", place / "out" / device)
        assert proof.exit_code == 0, proof.output
        assert proof.stdout.count("encode") >= 2
    seen = run("inspect", place / "set", "--shape", "rows=2", "--json")
    reports = json.loads(seen.stdout)["components"]
    assert [(row["component"], row["macs"]) for row in reports] == [
        ("encode", 2 * SIZE * SIZE),
        ("step", 2 * SIZE * SIZE),
    ]
    words = ("--target", "litert", "--shape", "rows=2")
    assert run("check", place / "set", *words).exit_code == 0
    plan = run("convert", place / "set", *words, "--samples", place / "data", "--dry-run")
    assert plan.exit_code == 0
    assert "4 .npz files" in plan.stdout


def test_a_profile_of_one_component_says_nothing_of_the_whole_bundle(place: Path, tmp_path: Path) -> None:
    bundle = place / "out" / ORT
    profile = hand_made(bundle, [40.0, 50.0])
    assert [one.component for one in profile.artifacts] == ["encode"]
    files = {"one": profile, "all": replace(profile, artifacts=(*profile.artifacts, _step(profile)))}
    for name, one in files.items():
        save_profile(one, tmp_path / f"{name}.json")
        words: dict[str, Any] = {"profiles": [tmp_path / f"{name}.json"], "budget": "latency=80ms"}
        _, status, _ = verdicts(bundle, tmp_path / name, **words)
        assert status == {"latency": "unknown" if name == "one" else "does not fit"}


def _step(profile: Profile) -> ArtifactProfile:
    """The second component, which takes as long as the first."""
    first = profile.artifacts[0]
    rows = [replace(row, metric=row.metric.replace("encode", "step")) for row in first.measurements]
    return replace(first, component="step", measurements=tuple(rows))


def test_debug_tells_the_layers_of_each_component(place: Path) -> None:
    out = place / "debug"
    words = ("--target", "litert", "--samples", place / "data", "--shape", "rows=2", "-o", out)
    result = run("debug", place / "set", *words)
    assert result.exit_code == 0, result.output
    rows = json.loads((out / "debug.json").read_text())
    assert [row["component"] for row in rows] == ["encode", "step"]
    assert (out / "generic-litert" / "step" / "layer.onnx").is_file()


def test_shapes_by_component_input_and_dim_mean_the_same(place: Path) -> None:
    by_name = ("--shape", f"encode.x=2,{SIZE}", "--shape", f"step.x=2,{SIZE}", "--shape", f"state=2,{SIZE}")
    counts = []
    for words in (by_name, ("--shape", "rows=2")):
        seen = json.loads(run("inspect", place / "set", *words, "--json").stdout)
        counts.append([row["macs"] for row in seen["components"]])
    assert counts[0] == counts[1] != [None, None]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ("--shape", "x=2,48"),
            "encode, step all have it way out: say which one: --shape encode.x",
        ),
        (("--shape", "state.y=2,48"), "no component has it way out: did you mean"),
        (("--bind", "nothing=1"), "--bind nothing: no component has it"),
        (("--float", "mix"), "--float 'mix' names no component way out: write --float encode.NODE"),
        (("--samples", "empty"), "has no subfolder 'encode' for that component"),
        (("--samples", "random", "--metric", "cosine"), "judges one model, not the 2"),
    ],
)
def test_words_that_fit_no_component_are_refused_before_any_work(
    place: Path, words: tuple[str, ...], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    (place / "empty").mkdir(exist_ok=True)
    shape = () if "--shape" in words else ("--shape", "rows=2")
    result = run("convert", "set", "-t", "ort-mobile", *shape, *words, "-o", "unmade")
    assert result.exit_code in (1, 2)
    assert told in " ".join(result.stderr.split())
    assert not (place / "unmade").exists()


HOSTILE = {
    "leaves": ('file = "step.onnx"', 'file = "../encode.onnx"', "leaves its folder"),
    "absolute": ('file = "step.onnx"', 'file = "/etc/passwd"', "leaves its folder"),
    "absent": ('file = "step.onnx"', 'file = "gone.onnx"', "missing"),
    "unknown component": ('component = "step"', 'component = "stop"', "no component"),
    "unknown key": ("weights_of", "weight_of", "did you mean 'weights_of'"),
    "cycle": ('repeat = "tokens"\nfeeds = "step"', 'feeds = "encode"', "a cycle"),
    "feeds itself once": ('repeat = "tokens"\n', "", "a cycle"),
    "name": ("[component.step]", '[component."../step"]', ""),
    "no TOML": ("[sizes]", "[sizes", "not TOML"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_scenario_is_refused_and_nothing_is_written(case: str, tmp_path: Path) -> None:
    place = make_set(tmp_path)
    old, new, told = HOSTILE[case]
    assert old in SCENARIO
    (place / "set" / "scenario.toml").write_text(SCENARIO.replace(old, new, 1))
    (tmp_path / "encode.onnx").write_bytes((place / "set" / "encode.onnx").read_bytes())
    result = run("convert", place / "set", "-t", "ort-mobile", "-o", place / "out")
    assert result.exit_code in (1, 2)
    assert told in " ".join(result.stderr.split())
    assert not (place / "out").exists()


def test_a_link_that_leaves_the_folder_is_no_component(tmp_path: Path) -> None:
    place = make_set(tmp_path)
    outside = tmp_path / "outside.onnx"
    (place / "set" / "step.onnx").replace(outside)
    (place / "set" / "step.onnx").symlink_to(outside)
    with pytest.raises(EdgekitError, match="leaves its folder"):
        edgekit.convert(place / "set", targets="ort-mobile", output=place / "out", cache="off")


def test_a_folder_without_a_scenario_says_what_is_missing(tmp_path: Path) -> None:
    result = run("inspect", tmp_path)
    assert result.exit_code == 2
    assert "is a folder without a scenario.toml" in " ".join(result.stderr.split())
