"""Convert end to end on a toy: what lies in the bundles, what is said, and what is never left behind."""

from __future__ import annotations

import json
import re
from importlib import metadata
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import edgekit
from tests.converted import BOTH, JETSON, ORT, make_workspace, read_tree, run, sqnr_db
from tests.models import package_model, run_onnx

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_workspace(tmp_path_factory.mktemp("convert"))


@pytest.fixture(autouse=True)
def cache(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One cache for all tests of this module, and the workspace as the current folder."""
    monkeypatch.setenv("EDGEKIT_CACHE", str(place / "cache"))
    monkeypatch.chdir(place)


@pytest.fixture(scope="module")
def first(place: Path) -> Result:
    """The INT8 convert for both targets that most tests look at, in `out`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEKIT_CACHE", str(place / "cache"))
        patch.chdir(place)
        return run("convert", "m.onnx", *BOTH, "--samples", "data", "-o", "out")


def golden_inputs(bundle: Path) -> list[np.ndarray]:
    return [np.load(path) for path in sorted(bundle.glob("golden/model/*/inputs-0.npy"))]


def test_one_model_becomes_one_bundle_a_target_whose_files_compute_what_the_model_does(
    first: Result, place: Path
) -> None:
    assert first.exit_code == 0, first.output
    assert sorted(path.name for path in (place / "out").iterdir()) == [ORT, JETSON]
    for sample in golden_inputs(place / "out" / JETSON):
        want = run_onnx(place / "m.onnx", {"x": sample})
        for variant, least in (("int8", 10.0), ("fp16", 40.0), ("fp32", 100.0)):
            got = run_onnx(place / "out" / JETSON / f"model.{variant}.onnx", {"x": sample})
            assert sqnr_db(got, want) >= least, variant
        got = run_onnx(place / "out" / ORT / "model.int8.ort", {"x": sample})
        assert sqnr_db(got, want) >= 10


def test_golden_data_are_the_users_own_samples_and_the_models_own_outputs(first: Result, place: Path) -> None:
    inputs = golden_inputs(place / "out" / ORT)
    assert len(inputs) == 4
    for index, sample in enumerate(inputs):
        np.testing.assert_array_equal(sample, np.load(place / "data" / f"{index}.npz")["x"])
        fp32 = np.load(place / "out" / ORT / "golden" / "model" / f"{index:03d}" / "fp32-0.npy")
        np.testing.assert_allclose(fp32, run_onnx(place / "m.onnx", {"x": sample})["y"], rtol=1e-4, atol=1e-6)


def test_the_second_run_is_cached_and_gives_the_same_bytes(first: Result, place: Path) -> None:
    again = run("convert", "m.onnx", *BOTH, "--samples", "data", "-o", "again")
    assert again.exit_code == 0
    assert "calibrate" not in again.stderr
    assert read_tree(place / "again") == read_tree(place / "out")


def test_without_the_cache_the_bytes_are_the_same(first: Result, place: Path) -> None:
    again = run("convert", "m.onnx", *BOTH, "--samples", "data", "-o", "fresh", "--no-cache")
    assert again.exit_code == 0
    assert "calibrate ..." in again.stderr
    assert read_tree(place / "fresh") == read_tree(place / "out")


def test_a_convert_as_typed_needs_no_options(place: Path) -> None:
    result = run("convert", "m.onnx", "--target", "jetson-orin")
    assert result.exit_code == 0
    alias, preset = "jetson-orin -> jetson-orin-nano-8gb (jetpack-", f"{JETSON}: FP16: no samples were given"
    assert result.stderr.startswith(alias)
    assert preset in result.stderr
    assert result.stdout.startswith(alias)
    assert result.stdout.count("FP16: no samples were given") == 1
    assert "RANDOM" not in result.stderr
    assert (place / "m-edgekit" / JETSON / "model.fp16.onnx").is_file()
    assert not (place / "m-edgekit" / JETSON / "model.int8.onnx").exists()


def test_a_proof_is_told_once_for_all_variants_alike(first: Result) -> None:
    assert first.stdout.count("nothing about any engine") == 1
    assert "model int8, model fp32, model fp16: proven on 4 samples" in first.stdout


def test_the_size_shown_is_that_of_the_file_a_runtime_loads(first: Result, place: Path) -> None:
    size = (place / "out" / ORT / "model.int8.ort").stat().st_size
    row = next(line for line in first.stdout.splitlines() if "model.int8.ort" in line)
    assert f"{size / 1000:.2f} KB" in row


def test_random_samples_are_told_loudly_once_and_marked_in_the_manifest(place: Path) -> None:
    result = run("convert", "m.onnx", "-t", "ort-mobile", "--samples", "random", "-o", "noise")
    assert result.exit_code == 0
    assert result.stderr.count("RANDOM") == 1
    assert "CALIBRATED ON RANDOM NUMBERS" in result.stdout
    manifest = json.loads((place / "noise" / ORT / "manifest.json").read_text())
    assert manifest["samples"] == "random"
    assert any("RANDOM" in line for line in manifest["warnings"])


def test_ranges_stay_dynamic_and_are_proven_at_real_sizes(place: Path) -> None:
    result = run("convert", "batch.onnx", *BOTH, "--shape", "x=1..4,3,16,16", "-o", "ranges")
    assert result.exit_code == 0
    for device in (JETSON, ORT):
        assert {len(sample) for sample in golden_inputs(place / "ranges" / device)} == {1, 4}
    job = json.loads((place / "ranges" / JETSON / "device" / "job.json").read_text())
    profile = job["components"][0]["variants"][0]["inputs"][0]
    assert (profile["min"], profile["max"]) == ([1, 3, 16, 16], [4, 3, 16, 16])
    for file in (place / "ranges" / JETSON / "model.fp16.onnx", place / "ranges" / ORT / "model.fp32.ort"):
        assert run_onnx(file, {"x": np.ones((3, 3, 16, 16), np.float32)})["y"].shape == (3, 10)


def test_a_sample_outside_the_range_is_refused(place: Path) -> None:
    folder = place / "wide"
    folder.mkdir()
    np.savez(folder / "big.npz", x=np.zeros((5, 3, 16, 16), np.float32))
    words = ("convert", "batch.onnx", "-t", "ort-mobile", "--shape", "x=1..4,3,16,16")
    result = run(*words, "--samples", folder, "-o", "unmade")
    assert result.exit_code == 1
    assert "sample 'big.npz', input 'x': axis 0 is 5, not 1..4" in result.stderr
    assert not (place / "unmade").exists()


@pytest.mark.parametrize(("size", "code", "words"), [("9MB", 0, "fits"), ("1KB", 1, "FAILED budget size")])
def test_a_size_is_measured_memory_predicted_and_what_nobody_knows_unknown(
    first: Result, size: str, code: int, words: str
) -> None:
    budget = f"latency=50ms,power=15W,memory=2GB,size={size}"
    result = run("convert", "m.onnx", *BOTH, "--samples", "data", "-o", "out", "--budget", budget)
    assert result.exit_code == code
    assert words in result.stdout
    for metric in ("latency 50ms", "power 15W"):
        assert f"budget {metric}: unknown" in result.stdout
    assert re.search(
        r"budget memory 2\.00 GB: fits \(.* predicted: spec: weights, live activations", result.stdout
    )


def test_below_the_gate_is_exit_1_and_names_a_node_that_float_takes(first: Result, place: Path) -> None:
    words = ("convert", "m.onnx", "-t", "ort-mobile", "--samples", "data", "--precision", "int8")
    result = run(*words, "--min-sqnr", "90", "-o", "strict")
    assert result.exit_code == 1
    assert result.stdout.splitlines()[-1].startswith(f"NOT GOOD: {ORT}")
    assert run("verify", place / "strict" / ORT, "--min-sqnr", "90").exit_code == 1
    node = result.stdout.split("--float ")[1].split()[0]
    steered = json.loads(run(*words, "--float", node, "-o", "steered", "--json").stdout)
    plain = json.loads(run(*words, "-o", "plain", "--json").stdout)

    def int8_macs(report: dict[str, Any]) -> int:
        return int(report["bundles"][0]["artifacts"][0]["macs"]["int8"])

    decisions = json.loads((place / "steered" / ORT / "decisions.json").read_text())["nodes"]
    assert next(row for row in decisions if row["node"] == node)["precision"] == "float"
    assert int8_macs(steered) <= int8_macs(plain)


def test_private_samples_stay_out_of_the_bundle_with_random_golden_data(place: Path) -> None:
    words = ("convert", "m.onnx", "-t", "ort-mobile", "--samples", "data", "-o", "private")
    assert run(*words, "--golden", "random").exit_code == 0
    private = [np.load(path)["x"].tobytes() for path in (place / "data").iterdir()]
    content = b"".join(read_tree(place / "private").values())
    assert not any(sample[:256] in content for sample in private)
    assert run("verify", place / "private" / ORT).exit_code == 0


def test_a_recipe_file_gives_the_same_bundle(first: Result, place: Path) -> None:
    words = ("convert", "m.onnx", *BOTH, "--samples", "data", "-o", "out")
    assert run(*words, "--save-recipe", "r.toml").exit_code == 0
    assert run("convert", "--recipe", "r.toml", "-o", "by-recipe").exit_code == 0
    assert read_tree(place / "by-recipe") == read_tree(place / "out")


def test_python_gives_the_same_bundle_and_its_figures(first: Result, place: Path) -> None:
    result = edgekit.convert(
        "m.onnx", targets=[JETSON, "ort-mobile"], samples=place / "data", output="python"
    )
    assert result.passed
    assert read_tree(place / "python") == read_tree(place / "out")
    assert all(
        share.share == 1.0 for bundle in result.bundles for share in [bundle.artifacts[0].macs] if share
    )


def test_a_real_model_keeps_its_numbers_in_int8(place: Path) -> None:
    model = package_model("ppocr-cls")
    data = place / "cls"
    data.mkdir()
    for index, sample in enumerate(np.random.default_rng(0).uniform(-1, 1, (4, 1, 3, 48, 192))):
        np.savez(data / f"{index}.npz", allow_pickle=False, x=sample.astype(np.float32))
    words = ("convert", model, "-t", JETSON, "--shape", "x=1,3,48,192", "--samples", data, "-o", "real")
    report = json.loads(run(*words, "--json").stdout)
    assert report["passed"]
    macs = report["bundles"][0]["artifacts"][0]["macs"]
    assert macs["int8"] >= 0.9 * macs["total"] > 0
    sample = {"x": np.load(data / "0.npz")["x"]}
    got = run_onnx(place / "real" / JETSON / "model.int8.onnx", sample)
    assert sqnr_db(got, run_onnx(model, sample)) >= 10


@pytest.mark.parametrize(
    "words",
    [
        ("inspect", "m.onnx"),
        ("check", "m.onnx", *BOTH),
        ("calibrate", "m.onnx", "--samples", "data"),
        ("verify", f"out/{ORT}"),
        ("convert", "m.onnx", *BOTH, "--samples", "data", "-o", "out"),
        ("convert", "m.onnx", *BOTH, "--samples", "data", "-o", "dry", "--dry-run"),
        ("targets",),
        ("devices",),
        ("doctor",),
    ],
    ids=lambda words: " ".join(words[:1] + words[-1:]),
)
def test_json_of_every_command_says_its_schema_and_version(first: Result, words: tuple[str, ...]) -> None:
    result = run(*words, "--json")
    document = json.loads(result.stdout)
    assert result.exit_code == 0
    assert document["schema"] == f"edgekit.{'plan' if '--dry-run' in words else words[0]}"
    assert document["version"] == 1


def test_a_dry_run_writes_nothing(place: Path) -> None:
    before = set(place.iterdir())
    result = run("convert", "m.onnx", *BOTH, "--samples", "data", "-o", "nothing", "--dry-run")
    assert result.exit_code == 0
    assert "dry run: nothing was written" in result.stdout
    assert set(place.iterdir()) == before


@pytest.mark.parametrize(
    ("target", "tool"),
    [("litert", "ai-edge-litert"), ("jetson-orin", "tensorrt")],  # the second is not installed here
)
def test_a_bundle_names_its_toolchain_and_is_made_again_with_another_version(
    place: Path, monkeypatch: pytest.MonkeyPatch, target: str, tool: str
) -> None:
    def tools(output: str) -> dict[str, str]:
        folder = place / f"{target}-{output}"
        result = run("convert", place / "m.onnx", "--target", target, "-o", folder)
        assert result.exit_code == 0, result.output
        (manifest,) = folder.glob("*/manifest.json")
        return dict(json.loads(manifest.read_text())["tools"])

    real = metadata.version
    before = tools("before")
    assert before.get(tool) == {"ai-edge-litert": real("ai-edge-litert")}.get(tool)
    assert "ai-edge-litert-sdk-qualcomm" not in before
    monkeypatch.setattr(metadata, "version", lambda name: "9.9" if name == tool else real(name))
    assert tools("after") == before | {tool: "9.9"}
