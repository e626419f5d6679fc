"""Bundles: sealed, written in one rename, and proven again by ONNX Runtime for real."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import resource
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit._bundle import (
    BundleDraft,
    ComponentDraft,
    open_bundle,
    read_artifacts,
    verify_bundle,
    write_archive,
    write_bundle,
)
from edgekit._bundle.schema import load_schema
from edgekit._values import Artifact, Device, Gap, MacShare, Placement, TensorInfo
from edgekit._verify import (
    Expected,
    Golden,
    GoldenSample,
    OrtSession,
    float_session,
    gate_for,
    load_gates,
    verify_artifact,
)
from edgekit.errors import BundleError, CannotRunHere, GateError, OutputError, TargetError, UsageError
from edgekit.target import Plan, Target

DEVICE = Device("toy-board", "Toy Board", "toy", "toykit-1", {"toykit-1": {"toyrt": "1.2"}})
X = np.linspace(-1, 1, 8, dtype=np.float32).reshape(2, 4)


class ToyTarget(Target):
    """Runs its ONNX artifact in ONNX Runtime."""

    name = "toy"

    def missing(self) -> str | None:
        return None

    def devices(self) -> list[Path]:
        return []

    def plan(self, components: Any, job: Any) -> Plan:
        return Plan(max_opset=17)

    def check(self, components: Any, job: Any) -> list[Gap]:
        return []

    def build(self, components: Any, job: Any, out: Path) -> list[Artifact]:
        return []

    def open(self, artifact: Artifact, folder: Path) -> Any:
        return OrtSession(str(folder / artifact.main), name=artifact.main)


def save_toy(path: Path, *, noise: float = 0.0) -> None:
    weights = np.arange(12, dtype=np.float32).reshape(4, 3) / 7 + np.float32(noise)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "W"], ["y"], "fc")],
        "toy",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(weights, "W")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


@pytest.fixture
def draft(tmp_path: Path) -> BundleDraft:
    built = tmp_path / "built"
    (built / "device").mkdir(parents=True)
    save_toy(built / "model.onnx")
    (built / "device" / "run.sh").write_text("#!/bin/sh\necho toy\n")
    (built / "device" / "run.sh").chmod(0o755)
    (built / "unnamed.tmp").write_text("left by the toolchain")
    artifact = Artifact(
        "model", "int8", "model.onnx", ("model.onnx",), "toyrt", macs=MacShare(12, 12), proves="the toy"
    )
    outputs = Expected(float_session(built / "model.onnx")).sample({"x": X})
    golden = Golden("model", "samples", (GoldenSample(outputs.feeds, outputs.fp32, outputs.fp32),))
    parity = verify_artifact(
        ToyTarget().open(artifact, built), artifact, golden=golden, gate=gate_for("int8")
    )
    component = ComponentDraft(
        name="model",
        source_sha256="0" * 64,
        inputs=(TensorInfo("x", "float32", ("n", 4), "NC"),),
        outputs=(TensorInfo("y", "float32", ("n", 3)),),
        golden=golden,
        preprocessing={"x": {"mean": [0.5], "layout": "NC"}},
        record=b'{"ranges": {}}\n',
        record_digest="1" * 64,
    )
    return BundleDraft(
        device=DEVICE,
        target="toy",
        built=built,
        artifacts=(artifact,),
        components=(component,),
        parities=(parity,),
        samples="samples",
        scheme="portable",
        extras=("device/run.sh",),
        gaps=(Gap("toy", "model", "fc", "MatMul", "is slow", "none needed", "warning"),),
        gates=load_gates(),
        tools={"edgekit": "0.1.0"},
        documents={"scales.json": b"{}\n"},
    )


@pytest.fixture
def bundle(draft: BundleDraft, tmp_path: Path) -> Path:
    write_bundle(draft, tmp_path / "out")
    return tmp_path / "out"


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def beside(folder: Path) -> set[str]:
    return {path.name for path in folder.parent.iterdir()} - {"built"}


def test_the_manifest_holds_the_sha256_of_every_other_file(bundle: Path) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    files = tree(bundle)
    del files["manifest.json"]
    assert {name: row["sha256"] for name, row in manifest["files"].items()} == {
        name: hashlib.sha256(data).hexdigest() for name, data in files.items()
    }
    assert {"model.onnx", "device/run.sh", "scales.json", "calibration/model.json", "README.md"} < set(files)
    assert "unnamed.tmp" not in files


def test_the_digest_is_the_sha256_of_the_manifest(draft: BundleDraft, tmp_path: Path) -> None:
    digest = write_bundle(draft, tmp_path / "out")
    assert digest == hashlib.sha256((tmp_path / "out" / "manifest.json").read_bytes()).hexdigest()
    with open_bundle(tmp_path / "out") as opened:
        assert opened.digest == digest


def test_two_writes_of_one_draft_give_the_same_bytes_in_any_folder(
    draft: BundleDraft, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    assert write_bundle(draft, tmp_path / "a") == write_bundle(draft, tmp_path / "elsewhere" / "b")
    assert tree(tmp_path / "a") == tree(tmp_path / "elsewhere" / "b")


def test_the_manifest_keeps_to_the_published_schema_by_an_independent_validator(bundle: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = load_schema("manifest.schema.json")
    jsonschema.Draft202012Validator.check_schema(schema)
    manifest = json.loads((bundle / "manifest.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(manifest)
    manifest["surprise"] = 1
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema).validate(manifest)


def test_golden_arrays_come_back_bit_for_bit(bundle: Path, draft: BundleDraft) -> None:
    with open_bundle(bundle) as opened:
        kept = opened.golden("model").samples[0]
    made = draft.components[0].golden.samples[0]
    for got, want in ((kept.feeds, made.feeds), (kept.fp32, made.fp32), (kept.reference, made.reference)):
        assert got is not None
        assert want is not None
        assert {name: array.tobytes() for name, array in got.items()} == {
            name: array.tobytes() for name, array in want.items()
        }
    assert np.load(bundle / "golden/model/000/inputs-0.npy", allow_pickle=False).tolist() == X.tolist()


def test_artifacts_come_back_as_the_values_they_were(bundle: Path, draft: BundleDraft) -> None:
    with open_bundle(bundle) as opened:
        assert opened.artifacts == draft.artifacts


def test_device_scripts_stay_executable(bundle: Path) -> None:
    assert os.access(bundle / "device/run.sh", os.X_OK)


def test_a_readme_of_the_target_is_taken_as_it_is(draft: BundleDraft, tmp_path: Path) -> None:
    (draft.built / "README.md").write_text("use it so\n")
    write_bundle(replace(draft, extras=("README.md",)), tmp_path / "out")
    assert (tmp_path / "out" / "README.md").read_text() == "use it so\n"


def test_where_a_compiler_placed_operators_is_kept_and_told(draft: BundleDraft, tmp_path: Path) -> None:
    placed = (Placement("NPU", 7, "by its compiler"), Placement("CPU", None, "Softmax '|<b>': no form"))
    first, *others = draft.artifacts
    write_bundle(replace(draft, artifacts=(replace(first, placements=placed), *others)), tmp_path / "out")
    with open_bundle(tmp_path / "out") as opened:
        assert read_artifacts(opened)[0].placements == placed
    readme = (tmp_path / "out" / "README.md").read_text()
    assert "| NPU | 7 | by its compiler |" in readme
    assert r"| CPU | not told | Softmax '\|\<b\>': no form |" in readme


def test_random_samples_and_failed_gates_are_told_loudly(draft: BundleDraft, tmp_path: Path) -> None:
    failed = replace(draft.parities[0], gate_failures=("output 'y': SQNR 3.0 dB", "output 'z': SQNR 2.0 dB"))
    write_bundle(replace(draft, samples="random", parities=(failed,)), tmp_path / "out")
    readme = (tmp_path / "out" / "README.md").read_text()
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert "CALIBRATED ON RANDOM NUMBERS" in readme
    assert "BELOW ITS GATE: output 'y': SQNR 3.0 dB (and 1 more)" in readme
    assert len(manifest["warnings"]) == 2
    assert manifest["parity"][0]["gate_failures"] == list(failed.gate_failures)
    assert manifest["parity"][0]["passed"] is False


def test_infinite_sqnr_is_written_as_valid_json(bundle: Path) -> None:
    def refuse(name: str) -> None:
        raise AssertionError(name)

    manifest = json.loads((bundle / "manifest.json").read_text(), parse_constant=refuse)
    assert manifest["parity"][0]["against_fp32"][0]["sqnr_db"] == "inf"


def test_a_name_from_the_model_never_becomes_a_path_or_markup(draft: BundleDraft, tmp_path: Path) -> None:
    evil = "../../x`<script>|"
    component = draft.components[0]
    sample = component.golden.samples[0]
    golden = Golden("model", "samples", (GoldenSample({evil: sample.feeds["x"]}, sample.fp32, None),))
    inputs = (TensorInfo(evil, "float32", ("n", 4)),)
    write_bundle(
        replace(draft, components=(replace(component, golden=golden, inputs=inputs),)), tmp_path / "out"
    )
    assert beside(tmp_path / "out") == {"out"}
    assert "`../../x'<script>/`" in (tmp_path / "out" / "README.md").read_text()
    with open_bundle(tmp_path / "out") as opened:
        assert list(opened.golden("model").samples[0].feeds) == [evil]


def test_verify_proves_a_bundle_again(bundle: Path, tmp_path: Path) -> None:
    moved = bundle.rename(tmp_path / "moved")
    proof = verify_bundle(moved, {"toy": ToyTarget()})
    assert proof.passed
    assert proof.parities[0].runs_equal
    assert proof.parities[0].samples == 1
    assert proof.digest == hashlib.sha256((moved / "manifest.json").read_bytes()).hexdigest()


def test_verify_finds_an_artifact_that_computes_something_else(draft: BundleDraft, tmp_path: Path) -> None:
    save_toy(draft.built / "model.onnx", noise=5.0)
    write_bundle(draft, tmp_path / "out")
    proof = verify_bundle(tmp_path / "out", {"toy": ToyTarget()})
    assert not proof.passed
    assert "SQNR" in proof.parities[0].gate_failures[0]


def test_verify_uses_its_own_gate_and_the_users_limits(draft: BundleDraft, tmp_path: Path) -> None:
    save_toy(draft.built / "model.onnx", noise=5.0)
    write_bundle(draft, tmp_path / "out")
    loose = {"min_sqnr_db": -99.0, "min_top1": 0.0, "min_reference_sqnr_db": -99.0}
    assert verify_bundle(tmp_path / "out", {"toy": ToyTarget()}, gate=loose).passed
    with pytest.raises(UsageError):
        verify_bundle(tmp_path / "out", {"toy": ToyTarget()}, gate={"sqnr": 1.0})


def test_noise_in_place_of_private_samples_is_judged_against_the_reference(
    draft: BundleDraft, tmp_path: Path
) -> None:
    sample = draft.components[0].golden.samples[0]
    far = {"y": -sample.fp32["y"]}

    def prove(name: str, golden_sample: GoldenSample, samples: Any) -> bool:
        component = replace(draft.components[0], golden=Golden("model", "random", (golden_sample,)))
        write_bundle(replace(draft, components=(component,), samples=samples), tmp_path / name)
        return verify_bundle(tmp_path / name, {"toy": ToyTarget()}).passed

    assert prove("a", GoldenSample(sample.feeds, far, sample.fp32), "samples")
    assert not prove("b", GoldenSample(sample.feeds, far, far), "samples")
    assert prove("c", GoldenSample(sample.feeds, far, sample.fp32), "random")
    assert not prove("none", GoldenSample(sample.feeds, far, sample.fp32), "none")
    assert not prove("e", GoldenSample(sample.feeds, far, None), "samples")


def test_verify_says_what_it_cannot_run(bundle: Path) -> None:
    class Elsewhere(ToyTarget):
        def open(self, artifact: Artifact, folder: Path) -> Any:
            raise CannotRunHere("needs a board", fix="run it there")

    proof = verify_bundle(bundle, {"toy": Elsewhere()})
    assert not proof.passed
    assert proof.parities[0].status == "unproven"
    with pytest.raises(TargetError, match="'toy', which is not installed"):
        verify_bundle(bundle, {})


def test_verify_refuses_an_artifact_with_another_output_shape(draft: BundleDraft, tmp_path: Path) -> None:
    sample = draft.components[0].golden.samples[0]
    golden = Golden("model", "samples", (GoldenSample(sample.feeds, {"y": np.zeros((1, 3), np.float32)}),))
    component = replace(draft.components[0], golden=golden)
    write_bundle(replace(draft, components=(component,)), tmp_path / "out")
    with pytest.raises(GateError, match="shape"):
        verify_bundle(tmp_path / "out", {"toy": ToyTarget()})


def test_writing_the_same_bundle_again_changes_nothing(draft: BundleDraft, bundle: Path) -> None:
    before = (bundle / "manifest.json").stat()
    write_bundle(draft, bundle)
    after = (bundle / "manifest.json").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert beside(bundle) == {"out"}


def test_another_bundle_is_kept_unless_replacing_is_asked_for(draft: BundleDraft, bundle: Path) -> None:
    before = tree(bundle)
    other = replace(draft, notes=("another",))
    with pytest.raises(OutputError, match="holds another bundle"):
        write_bundle(other, bundle)
    assert tree(bundle) == before
    write_bundle(other, bundle, existing="replace")
    with open_bundle(bundle) as opened:
        assert opened.manifest["notes"] == ["another"]
    assert beside(bundle) == {"out"}


def test_a_damaged_bundle_is_repaired_only_on_demand(draft: BundleDraft, bundle: Path) -> None:
    (bundle / "scales.json").write_text("[]\n")
    with pytest.raises(OutputError, match="damaged"):
        write_bundle(draft, bundle)
    write_bundle(draft, bundle, existing="replace")
    assert (bundle / "scales.json").read_text() == "{}\n"


@pytest.mark.parametrize("existing", ["refuse", "replace"])
def test_what_is_no_bundle_is_always_kept(draft: BundleDraft, tmp_path: Path, existing: Any) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"cat")
    (tmp_path / "file").write_bytes(b"file")
    (tmp_path / "empty").mkdir()
    (tmp_path / "json").mkdir()
    (tmp_path / "json" / "manifest.json").write_text("{}")
    for name in ("photos", "file", "empty", "json"):
        with pytest.raises(OutputError, match="no edgekit bundle"):
            write_bundle(draft, tmp_path / name, existing=existing)
    assert (tmp_path / "photos" / "cat.jpg").read_bytes() == b"cat"
    assert (tmp_path / "file").read_bytes() == b"file"


def test_a_users_file_inside_a_bundle_is_never_deleted(draft: BundleDraft, bundle: Path) -> None:
    (bundle / "my-notes.txt").write_text("keep me")
    with pytest.raises(OutputError, match=r"my-notes\.txt"):
        write_bundle(replace(draft, notes=("another",)), bundle, existing="replace")
    assert (bundle / "my-notes.txt").read_text() == "keep me"


def test_a_link_to_a_bundle_is_not_replaced(draft: BundleDraft, bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(bundle)
    with pytest.raises(OutputError, match="is a link"):
        write_bundle(draft, tmp_path / "link", existing="replace")


def test_a_missing_parent_and_an_unwritable_one_are_output_errors(draft: BundleDraft, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="mkdir -p"):
        write_bundle(draft, tmp_path / "no" / "out")
    with pytest.raises(OutputError, match="cannot be written"):
        write_bundle(draft, Path("/proc/out"))
    with pytest.raises(OutputError, match="cannot be written"):
        write_bundle(draft, tmp_path / ("x" * 300))
    assert beside(tmp_path / "out") == set()


def test_a_write_that_fails_half_way_leaves_nothing(draft: BundleDraft, tmp_path: Path) -> None:
    (draft.built / "model.onnx").write_bytes(bytes(1 << 20))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 << 10, hard))
    try:
        with pytest.raises(OutputError, match="free some space"):
            write_bundle(draft, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert beside(tmp_path / "out") == set()


def test_a_disk_that_fills_during_sync_leaves_nothing(
    draft: BundleDraft, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="free some space"):
        write_bundle(draft, tmp_path / "out")
    assert beside(tmp_path / "out") == set()


RENAMES = {"os.rename", "os.chmod", "os.rmdir", "os.remove"}
STEPS = {"refuse": RENAMES | {"open", "os.mkdir"}, "replace": RENAMES}


def write_and_die(draft: BundleDraft, folder: Path, step: int, existing: Any) -> bool:
    """Write in a child that kills itself before file system step `step`; whether it was killed."""
    child = os.fork()
    if child == 0:
        left = step

        def die(event: str, args: Any) -> None:
            nonlocal left
            if event in STEPS[existing]:
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        try:
            sys.addaudithook(die)
            write_bundle(draft, folder, existing=existing)
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


@pytest.fixture
def no_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda handle: None)


@pytest.mark.usefixtures("no_sync")
def test_a_kill_at_any_step_leaves_no_half_bundle(draft: BundleDraft, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    step = 0
    while write_and_die(draft, folder, step, "refuse"):
        if folder.exists():  # killed after the rename: the bundle must be whole
            with open_bundle(folder):
                pass
            break
        assert all(name.startswith(".edgekit-") for name in beside(folder))
        step += 1
    assert step > 30
    write_bundle(draft, folder)
    assert beside(folder) == {"out"}


@pytest.mark.usefixtures("no_sync")
def test_a_kill_while_replacing_loses_neither_bundle(draft: BundleDraft, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    new = replace(draft, notes=("new",))
    step, seen = 0, set()
    while True:
        write_bundle(draft, folder, existing="replace")
        killed = write_and_die(new, folder, step, "replace")
        write_bundle(draft if not folder.exists() else _draft_there(folder, draft, new), folder)
        with open_bundle(folder) as opened:
            seen.add(tuple(opened.manifest["notes"]))
        assert beside(folder) == {"out"}
        if not killed:
            break
        step += 1
    assert seen == {(), ("new",)}


def _draft_there(folder: Path, old: BundleDraft, new: BundleDraft) -> BundleDraft:
    with open_bundle(folder) as opened:
        return new if opened.manifest["notes"] else old


def test_the_sweep_leaves_a_running_write_alone(draft: BundleDraft, tmp_path: Path) -> None:
    from edgekit._bundle.staging import staged

    with staged(tmp_path / "out") as running:
        (running / "half").write_text("still writing")
        write_bundle(draft, tmp_path / "out")
        assert (running / "half").exists()
    assert beside(tmp_path / "out") == {"out"}


@pytest.mark.parametrize("ending", [".tar.gz", ".zip"])
def test_an_archive_has_the_same_bytes_each_time_and_verifies(
    bundle: Path, tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = tmp_path / f"a{ending}", tmp_path / f"b{ending}"
    write_archive(bundle, first)
    os.utime(bundle / "model.onnx", (1, 1))
    monkeypatch.setattr("time.time", lambda: 2e9)
    write_archive(bundle, second)
    assert first.read_bytes() == second.read_bytes()
    proof = verify_bundle(first, {"toy": ToyTarget()})
    assert proof.passed
    assert proof.digest == hashlib.sha256((bundle / "manifest.json").read_bytes()).hexdigest()


def test_an_archive_is_kept_unless_equal_or_replacing_is_asked_for(bundle: Path, tmp_path: Path) -> None:
    archive = tmp_path / "out.zip"
    archive.write_bytes(b"mine")
    with pytest.raises(OutputError, match="exists"):
        write_archive(bundle, archive)
    assert archive.read_bytes() == b"mine"
    write_archive(bundle, archive, existing="replace")
    write_archive(bundle, archive)
    with pytest.raises(UsageError, match=r"\.tar\.gz nor \.zip"):
        write_archive(bundle, tmp_path / "out.rar")


@pytest.mark.parametrize(
    "name", ["manifest.json", "golden/x", "calibration/x", "Golden/x", "../x", "a\\b", "con"]
)
def test_a_built_file_with_an_unsafe_name_is_refused(draft: BundleDraft, tmp_path: Path, name: str) -> None:
    with pytest.raises(BundleError):
        write_bundle(replace(draft, documents={name: b""}), tmp_path / "out")
    assert beside(tmp_path / "out") == set()


def test_a_built_link_out_of_the_folder_is_refused(draft: BundleDraft, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (draft.built / "leak.txt").symlink_to(tmp_path / "secret")
    with pytest.raises(BundleError, match=r"leak\.txt"):
        write_bundle(replace(draft, extras=("leak.txt",)), tmp_path / "out")


def test_a_manifest_that_would_name_the_build_folder_is_refused(draft: BundleDraft, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="varies between runs"):
        write_bundle(replace(draft, notes=(f"built in {draft.built}",)), tmp_path / "out")


def test_string_outputs_cannot_be_golden(draft: BundleDraft, tmp_path: Path) -> None:
    golden = Golden("model", "samples", (GoldenSample({"x": np.array(["a"], object)}, {}),))
    component = replace(draft.components[0], golden=golden)
    with pytest.raises(BundleError, match="plain numbers"):
        write_bundle(replace(draft, components=(component,)), tmp_path / "out")


def test_an_artifact_of_no_component_is_refused_before_anything_is_there(
    draft: BundleDraft, tmp_path: Path
) -> None:
    stray = replace(draft.artifacts[0], component="decoder")
    with pytest.raises(BundleError, match="has no component"):
        write_bundle(replace(draft, artifacts=(stray,)), tmp_path / "out")
    assert beside(tmp_path / "out") == set()
