"""Parts of the report: predictions where nobody measured, layers with errors, units, rates, energy saved."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import edgekit
from edgekit._budget import parse_budget
from edgekit._device_tool import LayerTime
from edgekit._layer_table import ErrorRow, join_layers
from edgekit._profile import budget_figures, compare_variants, judge_profile
from edgekit._profile.figures import measure_artifact
from edgekit._profile.heard import Round, WorkerHeard
from edgekit._profile.profile_bundle import tell_load
from edgekit._results import Measurement
from edgekit._values import MacShare, Placement
from edgekit.errors import BundleError
from edgekit.targets.litert.session import LiteRTSession
from tests.converted import make_bundle, run
from tests.reports.test_feasibility import hand_made, keep, verdicts

if TYPE_CHECKING:
    from pathlib import Path

    from edgekit._profile import Profile

BOTH = ("prefill", "decode")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Raspberry Pi's bundle: its clock and bandwidth are known, so that something can be predicted."""
    return make_bundle(tmp_path_factory.mktemp("made"), "raspberry-pi-5")


def test_what_nobody_measured_is_predicted_and_labelled(made: Path, tmp_path: Path) -> None:
    passed, status, overall = verdicts(made, tmp_path / "r", budget="latency=100s,size=1MB")
    assert (passed, status, overall) == (True, {"latency": "fits", "size": "fits"}, "likely fits")
    page = (tmp_path / "r" / "report.html").read_text()
    assert "predicted, " in page
    assert "predicted" in (tmp_path / "r" / "report.md").read_text()


def test_a_prediction_alone_never_fails_a_budget(made: Path, tmp_path: Path) -> None:
    passed, status, overall = verdicts(made, tmp_path / "r", budget="latency=1ns")
    assert (passed, status["latency"], overall) == (True, "does not fit", "likely does not fit")
    report = edgekit.report(made, tmp_path / "r", budget="latency=1ns")
    assert any(", predicted: " in reason for reason in report.devices[0].reasons)


def test_a_measured_figure_takes_the_place_of_the_predicted_one(made: Path, tmp_path: Path) -> None:
    bundle = shutil.copytree(made, tmp_path / "bundle")
    profile = hand_made(bundle, [40.0, 50.0, 60.0], device="raspberry-pi-5", target="litert")
    keep(bundle, profile)
    report = edgekit.report(bundle, tmp_path / "r")
    (latency,) = [row for row in report.devices[0].figures if row.metric == "latency"]
    assert (latency.kind, latency.value) == ("measured", 50.0)


def test_what_lies_beside_the_bundles_may_be_named_with_them(made: Path, tmp_path: Path) -> None:
    beside = tmp_path / "x.profiles"
    beside.mkdir()
    assert len(edgekit.report([made, beside], tmp_path / "r").devices) == 1


def error(node: str, tensor: str, own: float = 30.0) -> ErrorRow:
    return ErrorRow(node, tensor, "Conv", own, 20.0, None, "")


@pytest.mark.parametrize(
    "timed", ["conv1", "conv1_token_12", "relu1_out", "[relu1_out]:3", "Delegate/[relu1_out, other]:3"]
)
def test_runtimes_names_for_a_layer_find_its_error(timed: str) -> None:
    found = error("conv1", "relu1_out")
    (row,) = join_layers([LayerTime(timed, "QLinearConv", 5.0)], [found])
    assert row.error == found


def test_layers_are_the_slowest_first_and_unknown_errors_the_worst_first() -> None:
    times = [LayerTime("a", "Conv", 1.0), LayerTime("b", "Conv", 3.0)]
    rows = join_layers(times, [error("x", "xt", 9.0), error("y", "yt", 4.0), error("a", "at")])
    assert [(row.name, row.us) for row in rows] == [("b", 3.0), ("a", 1.0), ("y", None), ("x", None)]
    assert rows[1].error is not None


def test_debugs_errors_stand_beside_the_times_of_layers(made: Path, tmp_path: Path) -> None:
    bundle = shutil.copytree(made, tmp_path / "bundle")
    keep(bundle, hand_made(bundle, [40.0, 50.0], device="raspberry-pi-5", target="litert"))
    place = made.parents[1]
    debugged = run(
        *("debug", place / "m.onnx", "--target", "raspberry-pi-5", "--samples", place / "data"),
        *("-o", tmp_path / "bundle.debug", "--no-cache"),
    )
    assert debugged.exit_code == 0, debugged.output
    report = edgekit.report(bundle, tmp_path / "r")
    layers = json.loads((tmp_path / "bundle.debug" / "debug.json").read_text())[0]["layers"]
    assert [row.own_db for row in report.devices[0].errors] == [
        float(layer["own"]["sqnr_db"]) for layer in layers
    ]
    page = (tmp_path / "r" / "report.html").read_text()
    assert "time and error by layer" in page
    (tmp_path / "bundle.debug" / "debug.json").write_text('[{"device": 3}]')
    with pytest.raises(BundleError, match=r"no debug\.json"):
        edgekit.report(bundle, tmp_path / "r")


def test_where_operators_run_and_why_not_elsewhere_is_on_the_page(made: Path, tmp_path: Path) -> None:
    bundle = shutil.copytree(made, tmp_path / "bundle")
    profile = hand_made(bundle, [40.0, 50.0], device="raspberry-pi-5", target="litert")
    placed = (
        Placement("GPU", 123, "taken"),
        Placement("CPU", 156, "CONV_3D: Max version supported: 3."),
    )
    keep(bundle, replace(profile, artifacts=(replace(profile.artifacts[0], placements=placed),)))
    edgekit.report(bundle, tmp_path / "r")
    page = (tmp_path / "r" / "report.html").read_text()
    assert "CONV_3D: Max version supported: 3." in page
    assert '<td class="number">123</td>' in page


def test_what_a_compiler_placed_on_this_host_is_on_the_page_of_a_bundle_that_no_device_ran(
    tmp_path: Path,
) -> None:
    bundle = make_bundle(tmp_path, "galaxy-s24-qnn")
    edgekit.report(bundle, tmp_path / "r")
    trace = json.loads((bundle / "model.int8.v75.SM8650.op_trace.json").read_text())["summary"]
    page = (tmp_path / "r" / "report.html").read_text()
    assert f'<td>HTP of SM8650 (v75)</td><td class="number">{trace["supported_nodes"]}</td>' in page
    assert "on this host, not seen on a phone" in page
    assert "no device has run it" not in page


def test_the_page_tells_what_a_runtime_adds_to_its_own_qdq_graph(tmp_path: Path) -> None:
    """Computed here from the golden outputs in the bundle, by the formula of SQNR."""
    bundle = make_bundle(tmp_path, "litert")
    edgekit.report(bundle, tmp_path / "r")
    page = (tmp_path / "r" / "report.html").read_text()
    assert ">SQNR vs Q/DQ</th>" in page
    file = bundle / "model.int8.tflite"
    signal = noise = 0.0
    for folder in sorted((bundle / "golden" / "model").iterdir()):
        graph = np.load(folder / "reference-0.npy").astype(np.float64)
        got = LiteRTSession(file).run({"x": np.load(folder / "inputs-0.npy")})["y"]
        signal, noise = signal + (graph**2).sum(), noise + ((got - graph) ** 2).sum()
    cell = "equal" if noise == 0 else f"{10 * math.log10(signal / noise):.1f} dB"
    assert f'<td class="number">{cell}</td><td class="number">' in page
    assert page.count("what the runtime adds of its own") == 1


def with_figures(profile: Profile, component: str, variant: str, **figures: float) -> Any:
    """An artifact with measurements under their names, `latency_p50=2` is latency/p50."""
    rows = [
        Measurement(f"{component}/{variant}/{name.replace('_', '/', 1)}", value, "", "measured", "by hand")
        for name, value in figures.items()
    ]
    return replace(
        profile.artifacts[0], component=component, variant=variant, measurements=tuple(rows), latencies_ms=()
    )


@pytest.fixture
def profile(made: Path) -> Profile:
    return hand_made(made, [40.0, 50.0])


def test_int8_is_worth_it_or_not_with_its_energy(profile: Profile) -> None:
    fast = with_figures(profile, "m", "int8", latency_p50=2.0, energy_total=30.0)
    base = with_figures(profile, "m", "fp32", latency_p50=5.0, energy_total=60.0)
    (line,) = compare_variants(replace(profile, artifacts=(fast, base)))
    assert "2.50 times as fast" in line or "2.5 times as fast" in line
    assert "with 50 % of its energy" in line
    slow = with_figures(profile, "m", "int8", latency_p50=6.0)
    (line,) = compare_variants(replace(profile, artifacts=(slow, base)))
    assert "INT8 is not worth it" in line


def test_total_and_dynamic_energy_have_a_limit_each(profile: Profile) -> None:
    both = with_figures(profile, "m", "int8", energy_total=30.0, energy_dynamic=20.0)
    limits = parse_budget("energy=25mJ,dynamic_energy=25mJ")
    predicted = Measurement("energy", 10.0, "mJ", "predicted", "spec")
    measured = replace(both, measurements=tuple(replace(row, unit="mJ") for row in both.measurements))
    found = judge_profile(replace(profile, artifacts=(measured,)), {"m"}, limits, (predicted,))
    assert [(one.metric, one.status) for one in found] == [
        ("energy", "does not fit"),
        ("dynamic_energy", "fits"),
    ]
    # A prediction counts the idle device in: it never tells what lies above idle.
    none = replace(measured, measurements=())
    found = judge_profile(replace(profile, artifacts=(none,)), {"m"}, limits, (predicted,))
    assert [one.status for one in found] == ["fits", "unknown"]


@pytest.mark.parametrize(
    ("load", "cores", "told"),
    [("23.05", "2", True), ("2.00", "2", True), ("1.99", "2", False), ("", "2", False), ("x", "", False)],
)
def test_a_machine_whose_cores_all_had_other_work_is_called_busy(load: str, cores: str, told: bool) -> None:
    notes = tell_load({"load": load, "cores": cores})
    assert bool(notes) is told
    assert not told or f"load {load} on {cores} cores" in notes[0]


def test_a_share_that_prints_as_nothing_is_left_out() -> None:
    assert MacShare(100_000, 99_990, weight_int8=10).other_words() == []
    assert MacShare(100_000, 99_900, weight_int8=100).other_words() == ["int8 weights only: 0.1 %"]


def test_tokens_a_second_are_the_decoders_runs(profile: Profile) -> None:
    prefill = with_figures(profile, "prefill", "int8", throughput=4.0, latency_mean=250.0)
    decode = with_figures(profile, "decode", "int8", throughput=12.0, latency_mean=83.0)
    both = replace(profile, artifacts=(prefill, decode), traces=())
    found = {row.metric: row for row in budget_figures(both, BOTH)}
    assert (found["tokens_per_s"].value, found["tokens_per_s"].unit) == (12.0, "tokens/s")
    assert found["throughput"].value == pytest.approx(1 / (1 / 4 + 1 / 12))
    limits = parse_budget("tokens_per_s=10tokens/s")
    units = replace(both, artifacts=(replace(decode),))
    (verdict,) = judge_profile(units, BOTH, limits, ())
    assert verdict.status == "fits"


def test_a_profile_of_some_components_is_no_profile_of_the_bundle(profile: Profile) -> None:
    decode = with_figures(profile, "decode", "int8", throughput=12.0, latency_mean=83.0, memory_peak=1e6)
    alone = replace(profile, artifacts=(decode,), traces=())
    assert [row.metric for row in budget_figures(alone, BOTH)] == ["tokens_per_s"]
    assert "latency" in {row.metric for row in budget_figures(alone, {"decode"})}
    for limit in ("latency=100ms", "latency=1ms"):
        (verdict,) = judge_profile(alone, BOTH, parse_budget(limit), ())
        assert verdict.status == "unknown"


@pytest.mark.parametrize(
    ("first", "second", "latency", "power"),
    [
        ((4.0, 6.0), (9.0, 12.0), (13.0, 18.0), (9.0, 12.0)),
        ((4.0, 6.0), None, (14.0, 16.0), (10.0, 10.0)),
        (None, None, None, None),
    ],
)
def test_the_interval_of_components_is_of_their_sum(
    profile: Profile,
    first: tuple[float, float] | None,
    second: tuple[float, float] | None,
    latency: tuple[float, float] | None,
    power: tuple[float, float] | None,
) -> None:
    parts = [
        with_figures(profile, "prefill", "int8", latency_mean=5.0, power_mean=5.0),
        with_figures(profile, "decode", "int8", latency_mean=10.0, power_mean=10.0),
    ]
    parts = [
        replace(part, measurements=tuple(replace(row, interval=ends) for row in part.measurements))
        for part, ends in zip(parts, (first, second), strict=True)
    ]
    found = {row.metric: row for row in budget_figures(replace(profile, artifacts=tuple(parts)), BOTH)}
    assert (found["latency"].value, found["latency"].interval) == (15.0, latency)
    assert (found["power"].value, found["power"].interval) == (10.0, power)


def test_a_soak_that_slows_down_tells_when() -> None:
    rounds = [Round(5.0 * n, 5.0 * n + 5, [10**6 * (1 if n < 6 else 2)] * 3, 1, soak=True) for n in range(12)]
    found = {row.metric: row for row in measure_artifact("m/int8", WorkerHeard(rounds=rounds))}
    assert found["m/int8/soak/time_to_throttle"].value == 30.0
    assert (found["m/int8/soak/burst"].value, found["m/int8/soak/sustained"].value) == (1.0, 2.0)
    steady = [replace(one, ns=[10**6] * 3) for one in rounds]
    assert not [row for row in measure_artifact("m", WorkerHeard(rounds=steady)) if "throttle" in row.metric]
