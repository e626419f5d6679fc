"""mac/measure.py, run as a program: on Linux as it is, and on a stand-in for a Mac."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edgekit._bundle.draft import BundleDraft, ComponentDraft
from edgekit._bundle.write import write_bundle
from edgekit._device_output import read_measurements
from edgekit._verify import Golden, GoldenSample
from edgekit.targets.coreml import CoreML
from tests.targets.coreml_mac import FAKE, PHONE, ROOM, Built, X, write_built

if TYPE_CHECKING:
    from edgekit._results import Measurement

pytest.importorskip("coremltools")
SETTINGS = ("cpuOnly", "cpuAndGPU", "cpuAndNeuralEngine", "all")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    out = tmp_path_factory.mktemp("built")
    return out, *write_built(out)


@pytest.fixture(scope="module")
def bundle(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out, artifact, extras = built
    folder = tmp_path_factory.mktemp("bundles") / "bundle"
    samples = tuple(
        GoldenSample({"x:0": X + index}, {"y": 2 * (X + index) + np.float32(0.5)}, None) for index in range(2)
    )
    draft = BundleDraft(
        PHONE,
        "coreml",
        out,
        (artifact,),
        (ComponentDraft("model", "0" * 64, (), (), Golden("model", "samples", samples)),),
        (),
        "none",
        extras=tuple(extras),
    )
    write_bundle(draft, folder)
    return folder


@pytest.fixture(scope="module")
def mac(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for PYTHONPATH in which Python believes that it runs on a Mac with coremltools."""
    folder = tmp_path_factory.mktemp("mac")
    (folder / "coremltools.py").write_bytes(FAKE.read_bytes())
    (folder / "sitecustomize.py").write_text('import sys\n\nsys.platform = "darwin"\n')
    return folder


def run(
    bundle: Path, *arguments: str, mac: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    given = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    if mac is not None:
        given["PYTHONPATH"] = str(mac)
    return subprocess.run(
        [sys.executable, "-B", str(bundle / "mac" / "measure.py"), *arguments],
        capture_output=True,
        check=False,
        text=True,
        env=given | environment,
        cwd=bundle.parent,
    )


def rows(done: subprocess.CompletedProcess[str]) -> dict[str, Measurement]:
    return {row.metric: row for row in read_measurements(done.stdout.encode(), fix="-")}


def test_on_linux_it_says_so_and_gives_json_of_what_was_not_measured(bundle: Path) -> None:
    done = run(bundle)
    assert done.returncode == 1
    assert "error: this is Linux, and Core ML runs on a Mac only; run it on a Mac" in done.stderr
    found = rows(done)
    assert {f"model/fp32/{setting}/latency/p50" for setting in SETTINGS} <= found.keys()
    assert all(row.kind == "unknown" and row.value is None for row in found.values())
    assert all(row.basis.startswith("not measured: this is Linux") for row in found.values())


def test_a_mac_without_coremltools_is_told_how_to_install_it(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text('import sys\n\nsys.platform = "darwin"\n')
    (tmp_path / "coremltools.py").write_text("raise ImportError('none')\n")
    done = run(bundle, mac=tmp_path)
    assert done.returncode == 1
    assert 'python3 -m pip install "coremltools>=9.0"' in done.stderr


def test_with_core_ml_everything_but_power_is_measured(bundle: Path, mac: Path) -> None:
    done = run(bundle, "--runs=5", "--rounds=2", "--warm-up=3", "--seconds=1", mac=mac, PATH="/nowhere")
    found = rows(done)
    assert done.returncode == 1, "power was not measured"
    assert "sudo cannot be run" in done.stderr
    for setting in SETTINGS:
        place = f"model/fp32/{setting}"
        assert found[f"{place}/power/combined"].kind == "unknown"
        assert found[f"{place}/latency/count"].value == 10
        assert found[f"{place}/latency/warm_up_count"].value == 6
        assert found[f"{place}/latency/min"].value > 0  # type: ignore[operator]
        assert found[f"{place}/plan/neural-engine/ops"].value == 1
        assert found[f"{place}/plan/gpu/cost"].value == 0.25
        assert "conv" in found[f"{place}/plan/neural-engine/ops"].basis
        # Against 2x + 0.5: every difference is 0.5, and each figure is the worse sample's.
        want = [2 * (X + index) + 0.5 for index in range(2)]
        sqnr = min(10 * np.log10(np.sum(one**2) / (3 * 0.25)) for one in want)
        assert found[f"{place}/parity/fp32/y/sqnr_db"].value == pytest.approx(sqnr)
        assert found[f"{place}/parity/fp32/y/max_abs"].value == 0.5
    assert json.loads(done.stdout)["notes"] == [
        "figures are this machine's; the bundle was made for Apple iPhone 16 Pro"
    ]


def test_one_step_and_one_setting_leave_out_the_rest(bundle: Path, mac: Path) -> None:
    done = run(bundle, "compare", "--units=cpuOnly", mac=mac)
    assert done.returncode == 0, done.stderr
    kinds = {name.split("/")[3] for name in rows(done) if name.count("/") > 3}
    assert kinds == {"parity"}
    assert not any("all" in name.split("/") for name in rows(done))


@pytest.mark.parametrize(
    ("failing", "words"),
    [
        ("compile", "does not compile"),
        ("load CPU_AND_NE", "does not load the model for cpuAndNeuralEngine"),
        ("predict", "does not run the model on cpuOnly"),
        ("plan ALL", "no compute plan for all"),
    ],
)
def test_what_core_ml_refuses_is_said_and_the_rest_goes_on(
    bundle: Path, mac: Path, failing: str, words: str
) -> None:
    done = run(bundle, "--runs=2", "--rounds=1", "--warm-up=1", mac=mac, FAKE_FAIL=failing, PATH="/nowhere")
    assert done.returncode == 1
    assert words in done.stderr
    found = rows(done)
    assert any(row.kind == "unknown" and words in row.basis for row in found.values())
    if failing.startswith("load"):
        assert found["model/fp32/all/latency/p50"].kind == "measured"
        assert found["model/fp32/cpuAndNeuralEngine/latency/p50"].kind == "unknown"


def test_an_output_that_is_missing_is_no_equal_one(bundle: Path, mac: Path) -> None:
    done = run(bundle, "compare", mac=mac, FAKE_OUTPUT="z")
    assert done.returncode == 1
    assert "the model gives no output 'y'" in done.stderr


def test_a_changed_file_is_refused_before_it_is_used(bundle: Path, mac: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "bundle"
    shutil.copytree(bundle, copy)
    weights = next((copy / "golden").rglob("*.npy"))
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")
    done = run(copy, "compare", mac=mac)
    assert done.returncode == 1
    assert "does not have the manifest's bytes" in done.stderr


def test_an_unknown_component_or_step_is_told(bundle: Path) -> None:
    assert run(bundle, "--component=other").returncode == 1
    assert run(bundle, "explode").returncode == 2


def test_the_scripts_need_no_python_above_3_9() -> None:
    vermin = Path(sys.executable).with_name("vermin")
    scripts = sorted((ROOM / "device").glob("*.py"))
    done = subprocess.run(
        [vermin, "-t=3.9-", "--no-tips", *scripts], capture_output=True, check=False, text=True
    )
    assert done.returncode == 0, done.stdout


def test_what_the_script_prints_is_read_by_the_target(bundle: Path) -> None:
    found = CoreML().read(run(bundle).stdout.encode())
    assert found
    assert all(row.kind == "unknown" for row in found)
