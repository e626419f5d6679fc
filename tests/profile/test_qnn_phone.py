"""A context on a phone: onnxruntime_perf_test's stand-in over the real adbd, the provider's own profile."""

from __future__ import annotations

import csv
import html
import json
import shutil
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

import edgekit
from edgekit._device_tool import ToolCall
from edgekit._profile import load_profile
from edgekit.errors import UsageError
from edgekit.profiles.probes.adb import FOLDER
from edgekit.profiles.probes.transport import DeviceError
from edgekit.targets.qnn.perf_test import PerfTest
from tests.converted import make_bundle
from tests.profile.adbd import SERIAL, Adbd, start_adbd

if TYPE_CHECKING:
    from collections.abc import Iterator

STAND_IN = Path(__file__).with_name("perf_test_stand_in.py")
SCHEMA = Path(edgekit.__file__).parent / "schemas" / "profile.schema.json"
QUICK: Any = {"runs": 5, "idle": "100ms", "patience": "60s"}
# A phone's processor by name: the library itself is Qualcomm's for x86.
UNAME = '#!/bin/sh\n[ "$1" = -m ] && echo aarch64 || exec /bin/uname "$@"\n'


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("made"), "snapdragon-8-gen-3")


def write_tool(folder: Path, before: str = "", after: str = "") -> Path:
    """The stand-in as one program, with the libraries of the installed wheel beside it."""
    import onnxruntime_qnn

    wheel = Path(onnxruntime_qnn.__file__).parent
    for name in ("libonnxruntime_providers_qnn.so", "libQnnHtp.so", "libQnnSystem.so"):
        (folder / name).symlink_to(wheel / name)
    for path in wheel.with_name("onnxruntime_qnn.libs").iterdir():
        (folder / path.name).symlink_to(path)
    tool = folder / "onnxruntime_perf_test"
    tool.write_text(f'#!/bin/sh\n{before}\n{sys.executable} {STAND_IN} "$@" || exit\n{after}\n')
    return tool


@pytest.fixture(scope="module")
def phone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Adbd]:
    folder = tmp_path_factory.mktemp("phone")
    write_uname(folder / "bin")
    running = start_adbd(folder)
    yield running
    running.stop()


def write_uname(folder: Path) -> None:
    folder.mkdir()
    (folder / "uname").write_text(UNAME)
    (folder / "uname").chmod(0o755)


def read_csv(path: Path) -> tuple[set[str], float]:
    """(names of the nodes, microseconds that all executions took) of a profile, read by the csv module."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = {row["Event Identifier"] for row in rows if row["Message"] == "NODE"}
    whole = [float(row["Time"]) for row in rows if row["Event Identifier"] == "Accelerator (execute) time"]
    assert len(whole) == 21  # 20 runs and the tool's own warm-up
    return names, sum(whole) / len(whole)


def test_a_phones_times_by_node_are_pulled_and_stand_in_the_profile(
    phone: Adbd, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in phone.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv(FOLDER, str(tmp_path))
    kept = tmp_path / "kept"
    words: Any = {**QUICK, "tool": write_tool(tmp_path), "output": tmp_path / "p.json", "keep": str(kept)}
    result = edgekit.profile(bundle, f"adb://{SERIAL}", **words)
    profile = result.profile
    assert profile.complete, profile.problem
    saved = json.loads(result.file.read_text())
    jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text())).validate(saved)
    assert load_profile(result.file) == profile
    on_htp, on_cpu = profile.artifacts
    names, mean_us = read_csv(kept / ".edgekit" / "layers-0.csv")
    assert len(on_htp.layers) == len(names) > 5
    assert all(any(name.startswith(layer.name) for name in names) for layer in on_htp.layers)
    # In the emulation the nodes' cycles add up to their execution's.
    assert sum(layer.us for layer in on_htp.layers) == pytest.approx(mean_us, rel=0.02)
    (place,) = on_htp.placements
    assert (place.unit, place.ops) == ("HTP", len(names))
    assert "cycles" in place.why
    assert (on_cpu.layers, on_cpu.placements) == ((), ())
    assert on_cpu.layers_note == "the CPU baseline of an NPU bundle is timed as a whole"
    assert any("compared with nothing" in note for note in profile.notes)
    assert profile.conditions["warm_up"] == "1 runs"
    for artifact in profile.artifacts:
        told = {row.metric.rpartition("/")[2] for row in artifact.measurements}
        assert {"mean", "min", "max", "p50", "p90", "p99", "count", "load", "peak"} <= told
        assert not {"std", "first"} & told
        assert not artifact.parity
    assert "HTP, burst" in on_htp.runtime
    assert "CPUExecutionProvider" in on_cpu.runtime


def test_a_phone_that_wrote_no_profile_is_told_and_its_times_are_kept(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_uname(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    tool = write_tool(tmp_path, after="rm -f .edgekit/layers-*")
    words: Any = {**QUICK, "variants": "int8", "tool": tool, "output": tmp_path / "p.json"}
    profile = edgekit.profile(bundle, **words).profile
    told = "onnxruntime_perf_test ran and wrote no profile '.edgekit/layers-0.csv'"
    assert profile.problem.startswith(told)
    assert profile.artifacts[0].turns == (1, 1, 1, 1, 1)


def test_an_emulated_htp_is_never_timed_by_the_tool_either(bundle: Path, tmp_path: Path) -> None:
    words: Any = {**QUICK, "variants": "int8", "tool": write_tool(tmp_path)}
    with pytest.raises(DeviceError, match="no Hexagon NPU"):
        edgekit.profile(bundle, **words)


def test_what_the_tool_would_not_heed_or_find_is_refused(bundle: Path, tmp_path: Path) -> None:
    tool = write_tool(tmp_path)
    with pytest.raises(UsageError, match="has a warm-up of its own"):
        edgekit.profile(bundle, tool=tool, warm_up=3)
    with pytest.raises(UsageError, match="leave --accelerator out"):
        edgekit.profile(bundle, tool=tool, accelerator="gpu")
    (tmp_path / "alone").mkdir()
    shutil.copy(tool, tmp_path / "alone")
    with pytest.raises(UsageError, match=r"no libQnnHtp\.so and no libQnnSystem\.so and no libonnx"):
        edgekit.profile(bundle, tool=tmp_path / "alone" / tool.name)


TOOL = PerfTest([("x", "float32", [1])], "", on_htp=True)


def test_a_folder_that_would_split_the_tools_options_is_refused() -> None:
    call = ToolCall("m", (), threads=1, runs=1, folder="/data/a b", tools="/data/a b/.edgekit")
    with pytest.raises(DeviceError, match="without spaces"):
        TOOL.command(call)


@pytest.mark.parametrize("printed", ["", "failed to initialize.\n", "Total inference requests: 0\n"])
def test_a_call_that_timed_nothing_is_told(printed: str) -> None:
    with pytest.raises(DeviceError, match="timed nothing"):
        TOOL.read(printed)


def test_the_page_says_how_many_nodes_the_chip_runs_and_with_what_compiler(
    bundle: Path, tmp_path: Path
) -> None:
    (partition,) = bundle.glob("*.partition.json")
    (chip,) = json.loads(partition.read_text())["chips"]
    edgekit.report(bundle, output=tmp_path / "report")
    page = html.unescape((tmp_path / "report" / "report.html").read_text())
    on_htp = f"{chip['nodes_on_htp']} of {chip['nodes']} nodes"
    assert f"model int8: SM8650 (v75): all but the end on the HTP: {on_htp}" in page
    assert "kept on the CPU by edgekit" in page
    assert f"onnxruntime-qnn {metadata.version('onnxruntime-qnn')}" in page
