"""Power and energy: every line of tegrastats that is published, totals, and hand-computed energies."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import edgekit
from edgekit._profile.energy import find_total, load_totals, measure_energy
from edgekit._profile.heard import Heard

if TYPE_CHECKING:
    from types import ModuleType

DEVICE = Path(edgekit.__file__).parent / "profiles" / "probes" / "device"
AGX_6 = (
    "11-21-2025 08:49:48 RAM 13983/62780MB (lfb 424x4MB) SWAP 126/31390MB (cached 0MB) "
    "CPU [90%@2201,85%@2201] EMC_FREQ 1%@2133 GR3D_FREQ 14%@[407,407] VIC_FREQ 115 NVDLA0_FREQ @1600 APE 174 "
    "CV0@73.625C CPU@77.281C VDD_GPU_SOC 3150mW/2971mW VDD_CPU_CV 14312mW/12415mW VIN_SYS_5V0 4968mW/5048mW "
    "VDDQ_VDD2_1V8AO 1091mW/1091mW"
)
AGX_72 = (
    "07-25-2026 09:08:28 RAM 20642/62817MB (lfb 1x2MB) CPU [12%@1036] EMC_FREQ 3%@3199 "
    "GR3D_FREQ 12%@[1300,1300] NVENC0 off NVDLA0 off APE 174 cpu@52.968C/52.968C "
    "VDD_GPU_SOC 5139mW/5139mW/5139mW VDD_CPU_CV 3268mW/3268mW/3268mW VIN_SYS_5V0 5500mW/5500mW/5500mW"
)
NANO_6 = (
    "01-04-2025 16:02:59 RAM 1273/7620MB (lfb 1x4MB) SWAP 286/3810MB (cached 1MB) CPU [0%@1036,0%@729] "
    "GR3D_FREQ 0% cpu@45.875C tj@46.312C VDD_IN 4968mW/4968mW VDD_CPU_GPU_CV 436mW/436mW "
    "VDD_SOC 1708mW/1708mW"
)


@pytest.fixture(scope="module")
def tegrastats() -> ModuleType:
    spec = importlib.util.spec_from_file_location("device_tegrastats", DEVICE / "tegrastats.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (
            AGX_6,
            {
                "power/VDD_GPU_SOC_W": 3.15,
                "power/VDD_CPU_CV_W": 14.312,
                "power/VIN_SYS_5V0_W": 4.968,
                "power/VDDQ_VDD2_1V8AO_W": 1.091,
                "temperature/cv0_C": 73.625,
                "temperature/cpu_C": 77.281,
                "clock/gpu_MHz": 407.0,
                "load/gpu_percent": 14.0,
                "clock/emc_MHz": 2133.0,
                "load/emc_percent": 1.0,
                "clock/cpu_MHz": 2201.0,
                "memory/used_MB": 13983.0,
            },
        ),
        (
            AGX_72,
            {
                "power/VDD_GPU_SOC_W": 5.139,
                "power/VDD_CPU_CV_W": 3.268,
                "power/VIN_SYS_5V0_W": 5.5,
                "temperature/cpu_C": 52.968,
                "clock/gpu_MHz": 1300.0,
                "load/gpu_percent": 12.0,
                "clock/emc_MHz": 3199.0,
                "load/emc_percent": 3.0,
                "clock/cpu_MHz": 1036.0,
                "memory/used_MB": 20642.0,
            },
        ),
        (
            NANO_6,
            {
                "power/VDD_IN_W": 4.968,
                "power/VDD_CPU_GPU_CV_W": 0.436,
                "power/VDD_SOC_W": 1.708,
                "temperature/cpu_C": 45.875,
                "temperature/tj_C": 46.312,
                "load/gpu_percent": 0.0,
                "clock/cpu_MHz": 1036.0,
                "memory/used_MB": 1273.0,
            },
        ),
        ("GR3D_FREQ @[1000,1000,1000]", {"clock/gpu_MHz": 1000.0}),
        ("", {}),
        ("garbage \x00\xff mW @C", {}),
    ],
)
def test_every_published_line_is_read(tegrastats: ModuleType, line: str, told: dict[str, float]) -> None:
    assert tegrastats.parse_line(line) == pytest.approx(told)


def test_a_running_tegrastats_is_followed_by_the_sampler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "tegrastats"
    program.write_text(f"#!/bin/sh\nwhile :; do echo '{NANO_6}'; sleep 0.05; done\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    script = (
        f"import sys, json, time; sys.path.insert(0, {str(DEVICE)!r}); import sensors\n"
        "seen = []\n"
        "with sensors.Sampler(20.0, lambda at, values: seen.append(values)) as one: time.sleep(0.5)\n"
        "print(json.dumps([len(seen), seen[-1]]))"
    )
    import subprocess

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    count, last = json.loads(done.stdout)
    assert 5 <= count <= 12
    assert last["power/VDD_IN_W"] == 4.968


def heard_with(meters: list[str], samples: list[tuple[float, dict[str, float]]], **round_: Any) -> Heard:
    heard = Heard.of(1)
    heard.take(json.dumps({"event": "meters", "found": meters}).encode())
    heard.take(json.dumps({"event": "idle", "start": 0.0, "end": 1.0}).encode())
    for at, values in samples:
        heard.take(json.dumps({"event": "sensors", "at": at, "values": values}).encode())
    event = {"event": "round", "worker": 0, "start": 1.0, "end": 3.0, "ns": [10**6] * 100, "cpu_ns": 1}
    heard.take(json.dumps(event | round_).encode())
    return heard


def nano_samples() -> list[tuple[float, dict[str, float]]]:
    """2 W when idle, 6 W +- 1 W in turns while it runs; the sub-rail must not be added."""
    idle = [(0.1 * step, {"power/VDD_IN_W": 2.0, "power/VDD_SOC_W": 1.0}) for step in range(10)]
    busy = [
        (1.0 + 0.1 * step, {"power/VDD_IN_W": 5.0 + 2.0 * (step % 2), "power/VDD_SOC_W": 1.0})
        for step in range(1, 21)
    ]
    return idle + busy


def test_energy_is_power_above_idle_times_the_time_of_one_inference() -> None:
    heard = heard_with(["power/VDD_IN_W", "power/VDD_SOC_W"], nano_samples())
    found = {row.metric: row for row in measure_energy("m/int8", 0, heard)}
    assert found["m/int8/power/mean"].value == pytest.approx(6.0)
    # 100 inferences in 2 s are 20 ms each: 4 W above idle is 80 mJ, 6 W in all 120 mJ.
    assert found["m/int8/energy/dynamic"].value == pytest.approx(80.0)
    assert found["m/int8/energy/total"].value == pytest.approx(120.0)
    # The 20 samples are 1 W off their mean: standard error 1 W x sqrt(20/19)/sqrt(20), 80 % is 1.2816 of it.
    half = 1.2816 * (20 / 19) ** 0.5 / 20**0.5 * 20.0
    assert found["m/int8/energy/dynamic"].interval == pytest.approx((80.0 - half, 80.0 + half), rel=1e-4)


def test_agx_rails_add_up_and_vdd_in_never_does() -> None:
    agx = {"power/VDD_GPU_SOC_W": 3.0, "power/VDD_CPU_CV_W": 4.0, "power/VIN_SYS_5V0_W": 5.0}
    total = find_total(heard_with(list(agx), [(0.0, agx)]))
    assert total is not None
    assert total[1] == [(0.0, 12.0)]
    nano = {"power/VDD_IN_W": 10.0, "power/VDD_SOC_W": 4.0}
    total = find_total(heard_with(list(nano), [(0.0, nano)]))
    assert total is not None
    assert total[1] == [(0.0, 10.0)]


def test_rails_that_make_no_known_total_give_no_figure() -> None:
    assert (
        measure_energy("m/int8", 0, heard_with(["power/VDD_SOC_W"], [(2.0, {"power/VDD_SOC_W": 1.0})])) == []
    )


def test_too_few_samples_are_unknown_and_the_way_out_is_told() -> None:
    heard = heard_with(["power/VDD_IN_W"], [(2.0, {"power/VDD_IN_W": 1.0})])
    (row,) = measure_energy("m/int8", 0, heard)
    assert (row.value, row.kind) == (None, "unknown")
    assert "--duration" in row.basis


def test_every_total_names_its_source() -> None:
    assert all(total.source for total in load_totals())
