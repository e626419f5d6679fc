"""The device scripts, run end to end by Python 3.8 against a stand-in for trtexec (no device exists here)."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit._bundle.draft import BundleDraft, ComponentDraft
from edgekit._bundle.write import write_bundle
from edgekit._values import Component, DimRange, Precision
from edgekit._verify import Golden, GoldenSample
from edgekit.profiles.loader import device_files, load_device
from edgekit.target import Job
from edgekit.targets.tensorrt import TensorRT

FAKE = Path(__file__).with_name("fake_trtexec.py")
TARGET = TensorRT()


def _python38() -> str:
    """A Python 3.8 where this machine has one, else the Python that runs the tests."""
    found = shutil.which("python3.8")
    if found is not None:
        done = subprocess.run(
            [found, "-c", "import sys; print(sys.executable)"], capture_output=True, check=False, text=True
        )
        if done.returncode == 0:
            return done.stdout.strip()
    return sys.executable


def _double(dims: list[int | str]) -> ir.Model:
    """y = 2x: the one model that the stand-in computes. The input's name holds a colon, as some do."""
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x:0", "two"], ["y"], "mul")],
        "double",
        [helper.make_tensor_value_info("x:0", TensorProto.FLOAT, dims)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, dims)],
        [numpy_helper.from_array(np.array(2, np.float32), "two")],
    )
    return ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))


class Board:
    """A folder that stands for a device: a bundle, a PATH with python3 and trtexec, a cache, a log."""

    def __init__(self, root: Path, dims: list[int | str], **fields: Any) -> None:
        self.root, self.bundle, self.log = root, root / "bundle", root / "log"
        built = root / "built"
        built.mkdir()
        path = next(path for path in device_files("tensorrt") if path.stem == "jetson-orin-nano-8gb")
        variants: tuple[Precision, ...] = ("int8", "fp16")
        component = Component("model", _double(dims), "0")
        jobs = [Job(load_device(path), variant, **fields) for variant in variants]
        artifacts = tuple(TARGET.build([component], job, built)[0] for job in jobs)
        extras = tuple(TARGET.extras(artifacts, jobs[0], built))
        self.x = np.array([[0.5, -1.25, 3.0]], np.float32)
        samples = tuple(
            GoldenSample(
                {"x:0": self.x + index},
                {"y": 2 * (self.x + index)},
                {"y": 2 * (self.x + index) + np.float32(0.5)},
            )
            for index in range(2)
        )
        draft = BundleDraft(
            jobs[0].device,
            "tensorrt",
            built,
            artifacts,
            (ComponentDraft("model", "0" * 64, (), (), Golden("model", "samples", samples)),),
            (),
            "samples",
            extras=extras,
        )
        write_bundle(draft, self.bundle)
        (root / "bin").mkdir()
        (root / "bin" / "python3").symlink_to(_python38())
        trtexec = root / "bin" / "trtexec"
        trtexec.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{FAKE}" "$@"\n')
        trtexec.chmod(0o755)

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        base = {
            "PATH": f"{self.root / 'bin'}:/usr/bin:/bin",
            "HOME": str(self.root),
            "FAKE_LOG": str(self.log),
        }
        return subprocess.run(
            ["sh", str(self.bundle / "device" / "run.sh"), *arguments],
            capture_output=True,
            check=False,
            text=True,
            env=base | environment,
            cwd=self.root,
        )

    def values(self, *arguments: str, **environment: str) -> dict[str, float | None]:
        done = self.run(*arguments, **environment)
        assert done.returncode == 0, done.stderr
        return {row.metric: row.value for row in TARGET.read(done.stdout.encode())}

    def asked(self) -> list[list[str]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path, [1, 3])


def test_all_builds_compares_and_times_both_variants(board: Board) -> None:
    values = board.values("all", "--rounds=2", "--seconds=1")
    for variant in ("int8", "fp16"):
        assert values[f"model/{variant}/parity/fp32/y/max_abs"] == 0
        assert values[f"model/{variant}/parity/fp32/y/sqnr_db"] is None, "equal: no noise to speak of"
    assert not any(name.startswith("model/fp16/parity/reference") for name in values), "it is INT8's"
    # Against 2x + 0.5: every difference is 0.5, and each figure is the worse sample's.
    sqnr, cosine = [], []
    for index in range(2):
        got, want = 2 * (board.x + index), 2 * (board.x + index) + 0.5
        sqnr.append(10 * np.log10(np.sum(want**2) / (3 * 0.25)))
        cosine.append(np.sum(got * want) / np.linalg.norm(got) / np.linalg.norm(want))
    place = "model/int8/parity/reference/y"
    assert values[f"{place}/max_abs"] == 0.5
    assert values[f"{place}/sqnr_db"] == pytest.approx(min(sqnr))
    assert values[f"{place}/cosine"] == pytest.approx(min(cosine), abs=1e-6)


def test_latency_statistics_are_numpys_and_leave_the_warm_up_out(board: Board) -> None:
    values = board.values("time", "--rounds=2", "--seconds=1")
    kept = np.tile(1 + np.arange(100) / 100, 2)
    # The stand-in starts a warm-up run each 3 ms until 600 ms; 500 ms and later count as kept.
    early = sum(3.0 * index < 500 for index in range(200))
    kept = np.concatenate([kept, np.full(2 * (200 - early), 3.0)])
    for name, want in {
        "mean": kept.mean(), "min": kept.min(), "max": kept.max(), "std": kept.std(),
        "p50": np.percentile(kept, 50), "p90": np.percentile(kept, 90), "p95": np.percentile(kept, 95),
        "p99": np.percentile(kept, 99), "count": len(kept), "warm_up_count": 2 * early, "warm_up_mean": 3.0,
    }.items():  # fmt: skip
        assert values[f"model/int8/latency/{name}"] == pytest.approx(want), name


def test_a_soak_without_a_timed_run_is_an_error_and_no_figure_of_0(board: Board) -> None:
    done = board.run("time", "--rounds=1", "--seconds=1", "--soak=60", FAKE_STUCK="60")
    assert done.returncode == 1
    assert "no run was left after the warm-up" in done.stderr


def test_timing_takes_turns_and_pins_the_flags(board: Board) -> None:
    board.values("time", "--rounds=2", "--seconds=1")
    timed = [line for line in board.asked() if any(part.startswith("--exportTimes") for part in line)]
    engines = [next(part for part in line if part.startswith("--loadEngine")) for line in timed]
    assert engines == [engines[0], engines[1], engines[1], engines[0]]
    assert engines[0] != engines[1]
    assert all({"--noDataTransfers", "--useCudaGraph", "--useSpinWait"} <= set(line) for line in timed)


@pytest.mark.parametrize(
    ("version", "int8", "fp16", "build_only"),
    [
        ("8502", ["--int8", "--fp16"], ["--fp16"], "--buildOnly"),
        ("100300", ["--int8", "--fp16"], ["--fp16"], "--skipInference"),
        ("110000", [], [], "--skipInference"),
    ],
)
def test_build_flags_follow_the_detected_version(
    board: Board, version: str, int8: list[str], fp16: list[str], build_only: str
) -> None:
    board.values("build", "--accept-version=8.5", FAKE_VERSION=version)
    lines = {
        variant: line
        for line in board.asked()
        for variant in ("int8", "fp16")
        if f".{variant}.onnx" in line[0]
    }
    precision = {
        name: [part for part in line if part in ("--int8", "--fp16")] for name, line in lines.items()
    }
    assert precision == {"int8": int8, "fp16": fp16}
    assert all(build_only in line for line in lines.values())
    assert not any("Shapes" in part for line in lines.values() for part in line), (
        "static models take no shapes"
    )


def test_outputs_are_copied_back_where_trtexec_leaves_that_out(board: Board) -> None:
    board.values("compare", FAKE_VERSION="110000")
    loads = [line for line in board.asked() if any(part.startswith("--exportOutput") for part in line)]
    assert loads
    assert all("--dataTransfers" in line and "--noDataTransfers" not in line for line in loads)


def test_dynamic_inputs_give_min_opt_and_max_shapes_with_quoted_names(tmp_path: Path) -> None:
    board = Board(tmp_path, ["n", 3], shapes={"x:0": (DimRange(1, 8), DimRange(3, 3))})
    board.values("compare", "--variant=int8")
    build, *runs = board.asked()
    assert {"--minShapes='x:0':1x3", "--optShapes='x:0':8x3", "--maxShapes='x:0':8x3"} <= set(build)
    assert all("--shapes='x:0':1x3" in line for line in runs)


def test_int8_slower_than_fp16_is_said(board: Board) -> None:
    done = board.run("time", "--rounds=1", "--seconds=1", FAKE_SLOW_INT8="1")
    assert any("INT8" in note and "not faster" in note for note in json.loads(done.stdout)["notes"])
    done = board.run("time", "--variant=int8", "--rounds=1", "--seconds=1")
    assert any("not timed side by side" in note for note in json.loads(done.stdout)["notes"])


def test_without_a_known_gpu_no_engine_is_taken_from_the_cache(board: Board) -> None:
    for done in (board.run("build", "--variant=int8"), board.run("build", "--variant=int8")):
        assert "built:" in done.stderr
        assert any("built afresh" in note for note in json.loads(done.stdout)["notes"])


def test_a_failed_build_leaves_no_engine_and_says_trtexecs_reason(board: Board) -> None:
    done = board.run("build", FAKE_FAIL="Network must have at least one output \x1b[2J")
    assert done.returncode == 1
    assert done.stdout == ""
    assert "Network must have at least one output" in done.stderr
    assert "\x1b" not in done.stderr
    assert list((board.root / ".cache/edgekit/tensorrt").glob("*.engine*")) == []


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("write failed: No space left on device", "out of disk"),
        ("Cuda Runtime (out of memory)", "out of memory"),
    ],
)
def test_a_full_disk_and_memory_are_named(board: Board, message: str, words: str) -> None:
    done = board.run("build", FAKE_FAIL=message)
    assert done.returncode == 1
    assert words in done.stderr


def test_a_missing_trtexec_is_named_with_the_place_jetpack_keeps_it(board: Board) -> None:
    (board.root / "bin" / "trtexec").unlink()
    done = board.run("build")
    assert done.returncode == 1
    assert "/usr/src/tensorrt/bin/trtexec" in done.stderr
    assert "apt install" in done.stderr


def test_an_older_tensorrt_is_refused_until_it_is_accepted(board: Board) -> None:
    done = board.run("build", FAKE_VERSION="8502")
    assert done.returncode == 1
    assert "made for TensorRT 10.3 (jetpack-6.2), and here is 8.5.2" in done.stderr
    assert board.run("build", "--accept-version=8.5", FAKE_VERSION="8502").returncode == 0


def test_an_engine_that_gives_nan_is_a_failure_and_no_figure(board: Board) -> None:
    done = board.run("compare", FAKE_NAN="1")
    assert done.returncode == 1
    assert "nan" in done.stderr
    assert done.stdout == ""


def test_a_changed_byte_of_a_model_or_golden_file_is_noticed(board: Board) -> None:
    for path in (board.bundle / "model.int8.onnx", next(board.bundle.glob("golden/model/000/*.npy"))):
        whole = path.read_bytes()
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        done = board.run("compare")
        assert done.returncode == 1
        assert "does not have the manifest's bytes" in done.stderr
        path.write_bytes(whole)
    assert board.run("compare").returncode == 0


def test_a_manifest_that_names_a_file_outside_the_bundle_is_refused(board: Board) -> None:
    path = board.bundle / "manifest.json"
    path.write_text(path.read_text().replace("golden/model/000/", "../../golden/"))
    done = board.run("compare")
    assert done.returncode == 1
    assert "outside its folder" in done.stderr


def test_the_output_names_the_bundle_by_the_sha256_of_its_manifest(board: Board) -> None:
    printed = json.loads(board.run("build").stdout)
    assert printed["bundle"] == hashlib.sha256((board.bundle / "manifest.json").read_bytes()).hexdigest()


def test_a_run_adds_nothing_to_the_sealed_bundle(board: Board) -> None:
    before = sorted(board.bundle.rglob("*"))
    board.values("all", "--rounds=1", "--seconds=1")
    assert sorted(board.bundle.rglob("*")) == before


def test_wrong_usage_exits_with_2(board: Board) -> None:
    assert board.run("fly").returncode == 2
    assert board.run("time", "--rounds=0").returncode == 2


def test_detect_reads_a_jetsons_files(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "proc/device-tree").mkdir(parents=True)
    (tmp_path / "etc/nv_tegra_release").write_text(
        "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic\n"
    )
    (tmp_path / "proc/device-tree/model").write_bytes(b"NVIDIA Jetson Orin Nano Developer Kit\0")
    (tmp_path / "proc/meminfo").write_text("MemTotal:        7802404 kB\nMemFree: 1 kB\n")
    found = _in_device(f"import detect; print(detect.detect({str(tmp_path)!r}))")
    assert "'l4t': '36.4.3'" in found
    assert "'board': 'NVIDIA Jetson Orin Nano Developer Kit'" in found
    assert "'memory_mib': 7619" in found
    assert (
        _in_device("import detect; print(detect.parse_power_mode('NV Power Mode: MAXN_SUPER\\n2'))")
        == "MAXN_SUPER"
    )


def test_a_cached_engine_is_used_until_model_gpu_version_or_bytes_change(board: Board) -> None:
    """With a known GPU: built once, cached, and built again when anything in its key or file changes."""
    script = """
import os, sys, engine, trtexec
tool = trtexec.find_trtexec()
model, cache = sys.argv[1:]
def go(gpu="8.7", **change):
    spec = {"variant": "int8", "model": model, "files": [model], "inputs": []}
    path, how = engine.build_engine(tool, spec, {"gpu": "Orin", "compute_capability": gpu}, cache)
    print(how)
    return path
path = go(); go(); go(gpu="11.0")
tool.version = (10, 4, 0); go(); tool.version = (10, 3, 0)
open(path, "ab").write(b"x"); go(); go()
open(model, "ab").write(b"x"); go()
print([name for name in os.listdir(cache) if "partial" in name])
"""
    arguments = [str(board.bundle / "model.int8.onnx"), str(board.root / "cache")]
    environment = {"PATH": f"{board.root / 'bin'}:/usr/bin:/bin", "FAKE_LOG": str(board.log)}
    lines = _in_device(script, *arguments, **environment).split("\n")
    assert lines == ["built", "cached", "built", "built", "built", "cached", "built", "[]"]


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("v8502", (8, 5, 2)),
        ("v8601", (8, 6, 1)),
        ("v100300", (10, 3, 0)),
        ("v101303", (10, 13, 3)),
        ("v110401", (11, 4, 1)),
    ],
)
def test_the_banner_tells_the_version(text: str, version: tuple[int, int, int]) -> None:
    banner = f"&&&& RUNNING TensorRT.trtexec [TensorRT {text}] # trtexec --help"
    assert _in_device(f"import trtexec; print(trtexec.parse_version({banner!r}))") == str(version)


def test_npy_files_are_read_as_numpy_reads_them(tmp_path: Path) -> None:
    dtypes = ("float32", "float16", "float64", "int64", "int32", "int16", "int8", "uint8", "bool")
    rng = np.random.default_rng(0)
    arrays = {name: rng.integers(0, 2, (2, 3)).astype(name) for name in dtypes}
    arrays["scalar"] = np.array(1.5, np.float32)
    for name, array in arrays.items():
        np.save(tmp_path / f"{name}.npy", array)
    script = (
        "import sys, arrays, json; d = {p: arrays.read_npy(sys.argv[1] + p + '.npy') for p in sys.argv[2:]}; "
    )
    script += "print(json.dumps({k: [t.dtype, list(t.shape), list(t.values)] for k, t in d.items()}))"
    found = json.loads(_in_device(script, f"{tmp_path}/", *arrays))
    want = {
        name: [array.dtype.name, list(array.shape), array.reshape(-1).tolist()]
        for name, array in arrays.items()
    }
    assert found == want


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.array([{"a": 1}], dtype=object), "not supported"),
        (np.asfortranarray(np.ones((2, 3), np.float32)), "not supported"),
        (np.ones(2, ">f4"), "not supported"),
    ],
)
def test_arrays_of_another_kind_are_refused_and_never_unpickled(
    tmp_path: Path, array: np.ndarray, words: str
) -> None:
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    assert words in _in_device(_TRY_READ, str(tmp_path / "a.npy"))


@pytest.mark.parametrize("cut", [0, 5, 20, 130])
def test_a_truncated_array_is_refused(tmp_path: Path, cut: int) -> None:
    np.save(tmp_path / "a.npy", np.ones((2, 3), np.float32))
    (tmp_path / "a.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:cut])
    assert "copy the bundle again" in _in_device(_TRY_READ, str(tmp_path / "a.npy"))


_TRY_READ = """
import sys, arrays, failure
try:
    arrays.read_npy(sys.argv[1])
    print("read")
except failure.Failure as error:
    print(error)
"""


def _in_device(script: str, *arguments: str, **environment: str) -> str:
    """stdout of a Python 3.8 snippet that imports the device scripts."""
    folder = Path(sys.modules[TensorRT.__module__].__file__ or "").parent / "device"
    done = subprocess.run(
        [_python38(), "-B", "-c", script, *arguments],
        capture_output=True,
        check=False,
        text=True,
        env={**os.environ, "PYTHONPATH": str(folder), **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
