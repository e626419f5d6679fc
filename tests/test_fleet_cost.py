"""A fleet's cost: against sums by hand, with unknown parts, and tables that cannot be."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

import edgekit
from edgekit.errors import BundleError, EdgekitError
from tests.converted import make_bundle, run

PAGE = (Path(__file__).parents[1] / "docs" / "cost.md").read_text(encoding="utf-8")
TABLE = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)[0]
JETSON = "jetson-orin-nano-8gb"


def write_both(folder: Path, table: str, **energies: float | None) -> tuple[Path, Path]:
    """A report whose devices need these mJ an inference, and a price table."""
    devices: list[dict[str, Any]] = []
    for name, value in energies.items():
        row = {"metric": "energy", "value": value, "unit": "mJ", "kind": "measured", "basis": "INA3221"}
        devices.append({"device": name.replace("_", "-"), "figures": [row]})
    report, prices = folder / "report.json", folder / "prices.toml"
    report.write_text(json.dumps({"schema": "edgekit.report", "version": 1, "devices": devices}))
    prices.write_text(table)
    return report, prices


def test_a_year_is_what_the_sum_by_hand_says(tmp_path: Path) -> None:
    made = edgekit.cost(*write_both(tmp_path, TABLE, jetson_orin_nano_8gb=180.0))
    device, rented, called = made.rows
    assert made.requests == 7.3e9
    # 7.3e9 inferences of 180 mJ are 1.314e9 J = 365 kWh, at 0.30; 1000 devices of 250 over 5 years.
    assert device.energy == pytest.approx(109.5)
    assert device.hardware == pytest.approx(50_000)
    assert device.total == pytest.approx(50_109.5)
    assert "measured (INA3221)" in device.basis
    assert rented.total == pytest.approx(1.2 * 4 * 24 * 365)
    assert called.total == pytest.approx(3.5 * 7300)


def test_what_is_unknown_makes_no_total(tmp_path: Path) -> None:
    report, prices = write_both(tmp_path, TABLE, jetson_orin_nano_8gb=None, pixel_9=5.0)
    jetson, pixel = edgekit.cost(report, prices).rows[:2]
    assert (jetson.energy, jetson.total) == (None, None)
    assert jetson.hardware == pytest.approx(50_000)
    assert (pixel.hardware, pixel.total) == (None, None)
    done = run("cost", report, "--prices", prices)
    assert done.exit_code == 0
    assert done.stdout.count("unknown") >= 4


def test_a_real_report_is_read(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path)
    edgekit.report(bundle, tmp_path / "report")
    (tmp_path / "prices.toml").write_text(TABLE)
    done = run("cost", tmp_path / "report" / "report.json", "--prices", tmp_path / "prices.toml", "--json")
    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout)["cost"]["rows"]
    assert [row["name"] for row in rows] == ["generic-ort-mobile", "gpu-instances", "per-request"]
    assert rows[0]["total"] is None


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("per_kwh", "per_kWh", "did you mean 'per_kwh'"),
        ("[energy]", "[enery]", "did you mean 'energy'"),
        ("0.30", "-1", "no positive number"),
        ("0.30", "inf", "no positive number"),
        ("= 250 ", "= true ", "no positive number"),
        ("count = 4 ", "# ", "no whole price"),
        ('currency = "EUR"', "", "name no currency"),
        ("devices = 1000", "", "no positive number"),
        ("version = 1", "version = 2", "not of version"),
    ],
)
def test_prices_that_cannot_be_are_refused(tmp_path: Path, old: str, new: str, told: str) -> None:
    assert old in TABLE
    report, prices = write_both(tmp_path, TABLE.replace(old, new), jetson_orin_nano_8gb=1.0)
    done = run("cost", report, "--prices", prices)
    assert done.exit_code == 2
    assert told in done.output


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"schema": "edgekit.report", "devices": 3}', "[" * 100_000]
)
def test_what_is_no_report_is_refused(tmp_path: Path, text: str) -> None:
    report, prices = write_both(tmp_path, TABLE)
    report.write_text(text)
    with pytest.raises(BundleError, match=r"no report\.json"):
        edgekit.cost(report, prices)
    with pytest.raises(EdgekitError, match="cannot be read"):
        edgekit.cost(tmp_path / "none.json", prices)
