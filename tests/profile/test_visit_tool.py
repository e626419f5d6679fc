"""Profiling without Python on the device: benchmark_model's stand-in runs real files, here and over adb."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

import edgekit
from edgekit._profile import load_profile
from edgekit._profile.android import facts_of, parse_battery, samples_of
from edgekit._profile.tool_file import read_machine
from edgekit.errors import CannotRunHere, UsageError
from edgekit.profiles.probes.adb import FOLDER
from edgekit.profiles.probes.transport import DeviceError
from tests.converted import make_bundle
from tests.profile.adbd import SERIAL, Adbd, start_adbd
from tests.profile.test_profile_local import children

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgekit._profile import Profile

STAND_IN = Path(__file__).with_name("benchmark_stand_in.py")
SCHEMA = Path(edgekit.__file__).parent / "schemas" / "profile.schema.json"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("made"), "litert")


@pytest.fixture(scope="module")
def tool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stand-in as one program; its Python is this one."""
    path = tmp_path_factory.mktemp("tool") / "android_aarch64_benchmark_model"
    path.write_text(f"#!{sys.executable}\n{STAND_IN.read_text()}")
    return path


QUICK: Any = {"runs": 10, "warm_up": 1, "idle": "100ms", "patience": "30s"}


@pytest.fixture(scope="module")
def profile(bundle: Path, tool: Path, tmp_path_factory: pytest.TempPathFactory) -> Profile:
    kept = tmp_path_factory.mktemp("kept")
    result = edgekit.profile(bundle, tool=tool, output=kept / "p.json", **QUICK)
    jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text())).validate(
        json.loads(result.file.read_text())
    )
    assert load_profile(result.file) == result.profile
    return result.profile


def test_outputs_are_compared_and_both_variants_timed_in_turns(profile: Profile, bundle: Path) -> None:
    assert profile.complete, profile.problem
    sealed = json.loads((bundle / "manifest.json").read_text())["parity"]
    for artifact, proof in zip(profile.artifacts, sealed, strict=True):
        # The host's own proof is an independent run of the same file in the same runtime.
        assert artifact.parity[0].sqnr_db == pytest.approx(
            float(proof["against_fp32"][0]["sqnr_db"]), abs=0.5
        )
        assert artifact.turns == (2, 2, 2, 2, 2)
        assert artifact.latencies_ms == ()


def test_what_the_tool_tells_is_measured_and_the_rest_is_left_out(profile: Profile) -> None:
    for artifact in profile.artifacts:
        place = f"{artifact.component}/{artifact.variant}"
        found = {row.metric.removeprefix(f"{place}/"): row for row in artifact.measurements}
        means = [turn["mean"] * turn["count"] for turn in artifact.told]
        assert found["latency/mean"].value == pytest.approx(sum(means) / 10)
        assert found["latency/min"].value == min(turn["min"] for turn in artifact.told)
        assert found["memory/peak"].value == pytest.approx(13.25 * 1024 * 1024)
        assert "latency/p50" in found
        assert not {"latency/p90", "latency/p99", "cpu_time"} & set(found)
        assert [(row.unit, row.ops) for row in artifact.placements] == [("CPU", 5), ("CPU", 2)]
        assert [layer.name for layer in artifact.layers] == ["Delegate/Convolution (NHWC, F32) IGEMM:0"]


def test_a_tool_for_another_processor_is_refused_by_its_first_bytes(bundle: Path, tmp_path: Path) -> None:
    arm = tmp_path / "benchmark_model"
    arm.write_bytes(
        b"\x7fELF\x02\x01\x01" + bytes(9) + (2).to_bytes(2, "little") + (183).to_bytes(2, "little")
    )
    assert read_machine(arm) == ("aarch64", "arm64")
    with pytest.raises(DeviceError, match="made for aarch64 or arm64, and the device is x86_64"):
        edgekit.profile(bundle, tool=arm, **QUICK)
    (tmp_path / "page.html").write_text("<html>")
    for wrong in (tmp_path / "page.html", tmp_path / "none"):
        with pytest.raises(UsageError, match="tool"):
            read_machine(wrong)


def test_a_target_without_a_tool_says_so(tool: Path, tmp_path: Path) -> None:
    from tests.targets.test_tensorrt_device import Board

    with pytest.raises(CannotRunHere, match="leave --tool out"):
        edgekit.profile(Board(tmp_path, [1, 3]).bundle, tool=tool)


def test_a_tool_that_fails_is_quoted(bundle: Path, tmp_path: Path) -> None:
    broken = tmp_path / "benchmark_model"
    broken.write_text("#!/bin/sh\necho 'ERROR: Failed to load model model.tflite'; exit 1\n")
    problem = edgekit.profile(bundle, tool=broken, output=tmp_path / "p.json", **QUICK).profile.problem
    assert "ended with status 1: ERROR: Failed to load model" in problem


def freezing(folder: Path, call: int) -> Path:
    """The stand-in, whose `call`-th call stops itself for good."""
    calls = folder / "calls"
    script = folder / "benchmark_model"
    script.write_text(
        f'#!/bin/sh\necho >> {calls}\n[ "$(wc -l < {calls})" -ne {call} ] || kill -STOP $$\n'
        f'exec {sys.executable} {STAND_IN} "$@"\n'
    )
    return script


def test_a_hung_tool_ends_the_run_with_what_was_heard_and_resume_goes_on(
    bundle: Path, tmp_path: Path
) -> None:
    # 4 golden samples, then turns: the 6th call is the second turn.
    words: Any = {**QUICK, "tool": freezing(tmp_path, 6), "patience": "8s", "variants": "int8"}
    broken = edgekit.profile(bundle, output=tmp_path / "broken.json", **words)
    assert "nothing was heard for 8 s" in broken.profile.problem
    assert "benchmark_model" in broken.profile.problem
    assert min(len(one.told) for one in broken.profile.artifacts) >= 1
    whole = edgekit.profile(bundle, resume=broken.file, output=tmp_path / "whole.json", **words).profile
    assert whole.complete, whole.problem
    for before, after in zip(broken.profile.artifacts, whole.artifacts, strict=True):
        assert len(after.told) == 5
        assert after.told[0] == before.told[0]
    assert not [pid for pid in children(os.getpid()) if is_tool(pid)]


def is_tool(pid: int) -> bool:
    try:
        return b".edgekit/tool" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


# `dumpsys battery` as phones print it (AOSP's BatteryService), on battery and on a cable.
ON_BATTERY = """Current Battery Service state:
  AC powered: false
  USB powered: false
  Max charging current: 0
  Charge counter: 2483000
  status: 3
  health: 2
  present: true
  level: 67
  scale: 100
  voltage: 3964
  temperature: 337
  technology: Li-poly
"""
ON_USB = ON_BATTERY.replace("USB powered: false", "USB powered: true").replace("status: 3", "status: 2")
# The energy meter of the power.stats HAL 2.0, in the columns its source formats.
RAILS = """============= PowerStats HAL 2.0 energy meter ==============
                           Channel    Cumulative Energy
           [S2S_VDD_G3D]:GPU          {gpu:14.2f} mWs
           [VSYS_PWR_MODEM]:Modem         5000.00 mWs
========== End of PowerStats HAL 2.0 energy meter ==========
"""


def test_the_battery_is_a_meter_only_while_nothing_charges_it() -> None:
    assert parse_battery(ON_BATTERY) == {
        "battery": "discharging, 67 %, 3964 mV, 33.7 °C",
        "supply": "battery",
    }
    assert parse_battery(ON_USB.replace("\n", "  "))["supply"] == "plugged in (USB)"
    assert parse_battery("") == {}
    lines = ["N k1 uV battery", "N k2 uA battery", "S 10.0 k1=4000000 k2=-500000"]
    for text, told in ((ON_BATTERY, {"power/battery_W": 2.0}), (ON_USB, {})):
        samples, _ = samples_of(lines, parse_battery(text))
        assert samples == [(10.0, told)]
    milliamperes = [*lines[:2], "S 10.0 k1=4000000 k2=-500"]
    assert samples_of(milliamperes, parse_battery(ON_BATTERY))[0] == [(10.0, {})]


def test_rails_are_power_between_two_readings_of_their_energy() -> None:
    first, second = RAILS.format(gpu=1000.0).splitlines(), RAILS.format(gpu=4000.0).splitlines()
    samples, meters = samples_of(["P 10.0", *first, "S 11.0", "P 12.0", *second], {})
    assert samples[-1] == (12.0, {"power/S2S_VDD_G3D_W": 1.5, "power/VSYS_PWR_MODEM_W": 0.0})
    assert meters == ("power/S2S_VDD_G3D_W", "power/VSYS_PWR_MODEM_W")


def test_a_phone_is_the_one_whose_model_it_says() -> None:
    from edgekit._profile.profile_bundle import matches_device

    (pixel, galaxy) = (edgekit.list_devices(name)[0] for name in ("pixel-9", "galaxy-s24"))
    assert matches_device(pixel, {"model": "Pixel 9"}) is True
    assert matches_device(pixel, {"model": "Pixel 9 Pro"}) is False
    assert matches_device(galaxy, {"model": "SM-S921B"}) is True
    assert matches_device(galaxy, {"board": "samsung"}) is False


@pytest.mark.parametrize(
    ("device", "machine", "fits"),
    [
        ("generic-ort-mobile", "aarch64", True),
        ("generic-ort-mobile", "x86_64", False),
        ("generic-litert", "armv7l", True),
        ("generic-openvino", "x86_64", True),
        ("generic-openvino", "aarch64", False),
        ("generic-ort-mobile", None, None),
        ("generic-tensorrt", "x86_64", True),
    ],
)
def test_a_generic_device_is_a_machine_with_its_processors(
    device: str, machine: str | None, fits: bool | None
) -> None:
    from edgekit._profile.profile_bundle import matches_device

    facts = {} if machine is None else {"machine": machine}
    assert matches_device(edgekit.list_devices(device)[0], facts) is fits


def test_garbage_among_facts_and_samples_is_left_out() -> None:
    assert facts_of("a=1\nx y=2\n=3\nb=\x1b[31mred\nnothing\n") == {"a": "1", "b": "?[31mred"}
    lines = ["S", "S nan k1=4", "N k1 mC ../x", "S 1 k1=30000 k1=x k2=9", "P x", "S 2 k1=3", "\x00"]
    assert samples_of(lines, {})[0] == [(1.0, {"temperature/..-x_C": 30.0}), (2.0, {})]


PHONE = {
    "getprop": """case $1 in
    ro.build.version.release) echo 15;; ro.build.version.sdk) echo 35;;
    ro.product.manufacturer) echo Google;; ro.product.model) echo 'Pixel 9';;
    ro.soc.manufacturer) echo Google;; ro.soc.model) echo 'Tensor G4';; ro.product.cpu.abi) echo arm64-v8a;;
esac""",
    "dumpsys": f"""case $1 in
    battery) cat <<'END'
{ON_BATTERY}END
    ;;
    thermalservice) echo 'IsStatusOverride: false'; echo 'Thermal Status: 0';;
    android.hardware*) read -r now _ </proc/uptime; cat <<END
   [S2S_VDD_G3D]:GPU   ${{now%.*}}${{now#*.}}0.00 mWs
END
    ;;
esac""",
}


@pytest.fixture(scope="module")
def phone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Adbd]:
    """The real adbd, whose shell finds a phone's getprop and dumpsys."""
    folder = tmp_path_factory.mktemp("phone")
    (folder / "bin").mkdir()
    for name, script in PHONE.items():
        (folder / "bin" / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / "bin" / name).chmod(0o755)
    running = start_adbd(folder)
    yield running
    running.stop()


def test_a_phone_is_profiled_over_adb_without_python(
    phone: Adbd, bundle: Path, tool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in phone.environment.items():
        monkeypatch.setenv(name, value)
    place = tmp_path / "tmp"
    place.mkdir()
    monkeypatch.setenv(FOLDER, str(place))
    words: Any = {**QUICK, "duration": "5s", "variants": "int8", "tool": tool, "output": tmp_path / "p.json"}
    profile = edgekit.profile(bundle, f"adb://{SERIAL}", **words).profile
    assert profile.complete, profile.problem
    facts = profile.facts
    assert (facts["android"], facts["soc"], facts["board"]) == ("15", "Google Tensor G4", "Google Pixel 9")
    assert facts["supply"] == "battery"
    assert all(artifact.parity for artifact in profile.artifacts)
    # The stand-in's counter grows by 1000 mWs a second: one watt.
    (rail,) = [trace for trace in profile.traces if trace.name == "power/S2S_VDD_G3D"]
    assert sum(rail.values) / len(rail.values) == pytest.approx(1.0, rel=0.3)
    assert not list(place.iterdir())
