"""What a fleet measured: written by drift, and then what estimate and report go by instead of predictions."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import edgekit
from edgekit._monitor.device.monitor import Monitor
from edgekit.errors import FieldError, UsageError
from tests.converted import make_bundle, run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DEVICE, SIBLING = "galaxy-s24", "galaxy-s25"
FLEET_MS = (3.0, 3.5, 4.0, 4.5, 9.0)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("measured"), DEVICE)


def write_field(bundle: Path, folder: Path, ms: float, **words: Any) -> np.ndarray:
    """One device's file, whose latencies lie around `ms` and whose power is 2 W; its latencies in ms."""
    count, variant = words.get("count", 50), words.get("variant", "int8")
    monitor, draw = Monitor(edgekit.verify(bundle).digest, variant=variant, device=f"phone-{ms}"), np.random
    seen = ms * draw.default_rng(int(10 * ms)).uniform(0.9, 1.3, count)
    for latency in seen:
        monitor.observe(
            {"x": np.zeros((1, 3, 16, 16))}, {"y": np.zeros((1, 10))}, latency / 1e3, latency / 500
        )
    folder.mkdir(exist_ok=True)
    monitor.write_json(str(folder / f"{ms}.json"))
    return np.asarray(seen)


@pytest.fixture(scope="module")
def page(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that drift wrote of the fleet."""
    place = tmp_path_factory.mktemp("fleet")
    for ms in FLEET_MS:
        write_field(bundle, place / "field", ms)
    write_field(bundle, place / "field", 100.0, count=5)  # too few to count
    run("drift", bundle, place / "field", "-o", place / "page")
    return place / "page"


@pytest.fixture(scope="module")
def fleet_ms(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> float:
    """The median over the devices of each one's mean."""
    place = tmp_path_factory.mktemp("again")
    return float(np.median([write_field(bundle, place, ms).mean() for ms in FLEET_MS]))


def estimate(bundle: Path, **words: Any) -> dict[str, dict[str, Any]]:
    made = edgekit.estimate(bundle.parent.parent / "m.onnx", devices=[DEVICE, SIBLING], **words)
    return {row.device: {figure.metric: figure for figure in row.figures} for row in made.devices}


def test_drift_sums_the_fleet_up(page: Path, fleet_ms: float) -> None:
    data = json.loads((page / "measured.json").read_text())
    assert (data["schema"], data["device"], data["devices"]) == ("edgekit.measured", DEVICE, 5)
    (artifact,) = data["artifacts"]
    figures = {row["name"]: row for row in artifact["figures"]}
    assert figures["latency/mean"]["value"] == pytest.approx(fleet_ms, rel=1e-6)
    assert figures["latency/mean"]["basis"] == "field: median of 5 devices, 250 inferences"
    assert figures["power/mean"]["value"] == pytest.approx(2.0, rel=1e-6)
    assert figures["energy/total"]["value"] == pytest.approx(2 * fleet_ms, rel=1e-6)
    assert figures["latency/mean"]["interval"][1] > figures["latency/mean"]["interval"][0]


def test_the_field_corrects_the_device_and_by_the_engine_that_there_is_its_sibling(
    bundle: Path, page: Path, fleet_ms: float
) -> None:
    found = estimate(bundle, measured_field=page / "measured.json")
    latency, power, energy = (found[DEVICE][name] for name in ("latency", "power", "energy"))
    assert (latency.kind, latency.value) == ("measured", pytest.approx(fleet_ms, rel=1e-6))
    assert latency.basis == "measured: field: median of 5 devices, 250 inferences"
    assert (power.kind, power.value) == ("measured", pytest.approx(2.0, rel=1e-6))
    assert (energy.kind, energy.value) == ("measured", pytest.approx(2 * fleet_ms, rel=1e-6))
    typed = estimate(bundle, measured={DEVICE: f"{latency.value}ms"})[SIBLING]["latency"]
    sibling = found[SIBLING]["latency"]
    assert sibling.value == pytest.approx(typed.value, rel=1e-6)
    assert sibling.interval == pytest.approx(typed.interval, rel=1e-6)
    assert sibling.basis.startswith(f"sibling: measured on {DEVICE} (field: median of 5 devices")
    assert found[SIBLING]["power"].kind != "measured"


@pytest.mark.parametrize(
    ("limit", "overall"), [("20ms", "fits"), ("4.2ms", "unknown"), ("2ms", "does not fit")]
)
def test_the_report_goes_by_the_field_where_no_profile_did(
    bundle: Path, page: Path, tmp_path: Path, limit: str, overall: str
) -> None:
    words = ("--budget", f"latency={limit},power=3W", "-o", tmp_path / "report")
    told = run("report", bundle, "--measured-field", page / "measured.json", *words)
    assert told.exit_code == (1 if overall == "does not fit" else 0)
    data = json.loads((tmp_path / "report" / "report.json").read_text())["devices"][0]
    figures = {row["metric"]: row for row in data["figures"]}
    assert figures["latency"]["kind"] == figures["power"]["kind"] == "measured"
    assert figures["latency"]["basis"].startswith("field: median of 5 devices")
    assert figures["p90_latency"]["value"] > figures["p50_latency"]["value"]
    # One device of five takes 9 ms: within 4.2 ms are some, not all.
    assert data["overall"] == overall
    html = (tmp_path / "report" / "report.html").read_text()
    assert "measured on 5 devices in the field" in html
    assert "No device has run this bundle" not in html


def test_a_report_names_measurements_of_another_bundle(bundle: Path, page: Path, tmp_path: Path) -> None:
    other = shutil.copy(page / "measured.json", tmp_path / "m.json")
    data = json.loads((tmp_path / "m.json").read_text())
    (tmp_path / "m.json").write_text(json.dumps({**data, "bundle": "ab" * 32}))
    with pytest.raises(UsageError, match=r"m\.json' is of bundle abababababab"):
        edgekit.report(bundle, tmp_path / "report", measured_field=[other])


def test_a_report_ignores_no_file_that_it_was_given(bundle: Path, page: Path, tmp_path: Path) -> None:
    data = json.loads((page / "measured.json").read_text())
    data["artifacts"][0]["variant"] = "fp32"  # the bundle offers int8
    (tmp_path / "m.json").write_text(json.dumps(data))
    for files, told in (
        ([tmp_path / "m.json"], "has nothing of model in int8"),
        ([page / "measured.json", tmp_path / "m.json"], r"m\.json' is the second of bundle"),
    ):
        with pytest.raises(UsageError, match=told):
            edgekit.report(bundle, tmp_path / "report", measured_field=files)
    assert not (tmp_path / "report").exists()


def test_what_is_asked_must_be_what_the_fleet_ran(bundle: Path, page: Path) -> None:
    file = page / "measured.json"
    for words in ({"precision": "fp16"}, {"runtime": "onnxruntime"}):
        with pytest.raises(UsageError, match="not of what is asked"):
            estimate(bundle, measured_field=file, **words)
    model, shapes = bundle.parent.parent / "batch.onnx", {"x": "2,3,16,16"}
    with pytest.raises(UsageError, match="M MACs"):
        edgekit.estimate(model, shapes=shapes, measured_field=file)
    with pytest.raises(UsageError, match="two files have measured"):
        estimate(bundle, measured_field=[file, file])
    with pytest.raises(UsageError, match="given twice"):
        estimate(bundle, measured_field=file, measured={DEVICE: "4ms"})


def _edit(key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda data: data.__setitem__(key, value)


def _figure(key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda data: data["artifacts"][0]["figures"][0].__setitem__(key, value)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_edit("version", 2), "/version"),
        (_edit("extra", 1), "/extra"),
        (_edit("work", {}), "of no component"),
        (_edit("devices", 0), "/devices"),
        (_figure("value", -1.0), "/value"),
        (_figure("value", 10**400), "/value"),
        (_figure("unit", "W"), "is not in W"),
        (_figure("interval", [2.0, 1.0]), "interval"),
        (_figure("interval", [2.0]), "interval"),
        (_figure("name", "latency/p50"), "stands twice"),
        (lambda data: data["artifacts"].append(data["artifacts"][0]), "stands twice"),
    ],
)
def test_a_damaged_file_is_refused_by_name(
    bundle: Path, page: Path, tmp_path: Path, change: Callable[[dict[str, Any]], None], told: str
) -> None:
    data = json.loads((page / "measured.json").read_text())
    change(data)
    (tmp_path / "m.json").write_text(json.dumps(data))
    with pytest.raises(FieldError, match=r"m\.json") as caught:
        estimate(bundle, measured_field=tmp_path / "m.json")
    assert told in caught.value.problem


def test_of_no_one_device_and_of_unknown_ones_nothing_is_predicted(
    bundle: Path, page: Path, tmp_path: Path
) -> None:
    data = json.loads((page / "measured.json").read_text())
    for name, told in (("generic-litert", "no one device"), ("phone-of-mine", "EDGEKIT_DEVICES")):
        (tmp_path / "m.json").write_text(json.dumps({**data, "device": name}))
        with pytest.raises(UsageError, match=told):
            estimate(bundle, measured_field=tmp_path / "m.json")


def test_monitors_that_name_no_variant_and_fleets_too_small_leave_no_measurements(
    bundle: Path, tmp_path: Path
) -> None:
    (tmp_path / "page").mkdir()
    for name in ("measured.json", "evidently.html", "of-mine.html"):
        (tmp_path / "page" / name).write_text("of last week")
    write_field(bundle, tmp_path / "field", 4.0, variant="")  # the bundle holds int8 and fp32
    write_field(bundle, tmp_path / "field", 5.0, count=20)
    assert edgekit.drift(bundle, tmp_path / "field", output=tmp_path / "page").measured is None
    assert {file.name for file in (tmp_path / "page").iterdir()} == {
        "drift.html", "drift.json", "of-mine.html"
    }  # fmt: skip


def test_a_total_that_is_no_sum_is_refused(bundle: Path, tmp_path: Path) -> None:
    write_field(bundle, tmp_path / "field", 4.0)
    file = tmp_path / "field" / "4.0.json"
    data = json.loads(file.read_text())
    data["latency_s"]["total"] *= 2
    file.write_text(json.dumps(data))
    with pytest.raises(FieldError, match="total is not the sum"):
        edgekit.drift(bundle, file)
