"""The page of a drift: what it shows, that it asks for nothing, and what names of strangers may do to it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import numpy as np
import pytest

import edgekit
from edgekit._field import Curves, DeviceFigure, DriftResult, TensorDrift
from edgekit._field.distances import Distances, measure_distances
from edgekit._field.shares import Shares
from edgekit._field.thresholds import load_thresholds
from edgekit._monitor.device.monitor import Monitor
from edgekit._monitor.device.sketch import Sketch
from edgekit.errors import OutputError
from edgekit.reports.drift_page import render_page
from tests.converted import make_bundle, run

if TYPE_CHECKING:
    from pathlib import Path

CHROMIUM = shutil.which("chromium")
EVIL = "<script>alert(1)</script>\x1b[31m$\\frac{&\"'\u202e"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("page"))


@pytest.fixture
def field(bundle: Path, tmp_path: Path) -> Path:
    """The files of two devices whose inputs are brighter than the baseline's."""
    digest, draw = edgekit.verify(bundle).digest, np.random.default_rng(1)
    folder = tmp_path / "field"
    folder.mkdir()
    for name in ("gate", EVIL):
        monitor = Monitor(digest, device=name, share=1.0)
        for _ in range(40):
            bright = draw.standard_normal((1, 3, 16, 16)) + 2
            monitor.observe({"x": bright}, {"y": draw.random((1, 10))}, 0.01, 0.03)
        monitor.write_json(str(folder / f"{len(name)}.json"))
    return folder


class Elements(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


def test_the_page_shows_each_tensor_and_asks_for_nothing(bundle: Path, field: Path, tmp_path: Path) -> None:
    told = run("drift", bundle, field, "-o", tmp_path / "page")
    assert told.exit_code == 1, told.output
    assert str(tmp_path / "page" / "drift.html") in told.output
    text = (tmp_path / "page" / "drift.html").read_text()
    page = Elements(text)
    assert {name for name, _ in page.found} & {"script", "link", "img", "iframe", "object"} == set()
    for _, attributes in page.found:
        for name in ("src", "href", "xlink:href"):
            assert (attributes.get(name) or "#").startswith("#")
    targets = {attributes.get("id") for _, attributes in page.found}
    assert {str(one.get("href"))[1:] for one in page.named("a")} <= targets
    figures = page.named("figure")
    assert len(figures) == 2
    assert all(one.get("aria-label") for one in figures)
    assert "2 devices" in text
    result = json.loads((tmp_path / "page" / "drift.json").read_text())
    x = next(one for one in result["drift"]["tensors"] if one["tensor"] == "x")
    assert re.search(rf"psi {x['distances']['psi']:.3g}.* &gt; 0.25", text)


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_chromium_shows_the_page_without_an_error(bundle: Path, field: Path, tmp_path: Path) -> None:
    edgekit.drift(bundle, field, output=tmp_path / "page")
    done = subprocess.run(
        [
            *(str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
            *(f"--user-data-dir={tmp_path / 'chromium'}", "--enable-logging=stderr", "--dump-dom"),
            (tmp_path / "page" / "drift.html").as_uri(),
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert not [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert "the largest difference of the shares" in done.stdout


def _sketch(values: np.ndarray) -> Sketch:
    sketch = Sketch(seed=0)
    sketch.update(values)
    return sketch


def _result(figures: list[DeviceFigure], tensors: list[TensorDrift]) -> DriftResult:
    return DriftResult(
        bundle="ab" * 32,
        model="raspberry-pi-5",
        files=1,
        devices=len({one.device for one in figures}),
        inferences=60,
        baselines={"model": "40 samples"},
        tensors=tuple(tensors),
        figures=tuple(figures),
        correction={"model/int8/latency": 1.5},
        limits=load_thresholds().metrics,
        notes=(),
    )


def _slow(device: str, ms: float) -> DeviceFigure:
    figure = DeviceFigure(device, "model", "int8", "latency", ms, "ms", 60, 10.0, 11.0, "measured: by hand")
    return replace(figure, status="missed" if ms > 11 else "kept")


def test_names_of_models_and_devices_stay_text(tmp_path: Path) -> None:
    curves = Curves((0.0, 1.0), (1.0, 2.0))
    distances = Distances(1.0, 0.1, 1.0, 0.1, 1.0, 0.1, 0.0)
    tensor = TensorDrift(
        EVIL, "input", EVIL, "drift", EVIL, distances, (0, 0.5, 1), (1, 1.5, 2), curves=curves
    )
    text = render_page(_result([_slow(EVIL, 20.0)], [tensor]))
    assert "<script>" not in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "&lt;script&gt;" in text
    assert Elements(text).named("script") == []


@pytest.mark.parametrize("count", [1, 20, 21, 500])
def test_late_devices_are_drawn_and_named_however_many(count: int) -> None:
    figures = [_slow(f"gate-{place}", 30 - 20 * place / count) for place in range(count)]
    text = render_page(_result(figures, []))
    assert len(Elements(text).named("figure")) == 1
    missed = [one for one in figures if one.median > 11]
    assert f"{len(missed)} of {count} above the limit" in text
    assert text.count('<th scope="row">gate-') == min(20, len(missed))
    assert (f"{len(missed) - 20} more are in drift.json" in text) == (len(missed) > 20)


def test_only_the_worst_of_many_tensors_are_drawn() -> None:
    curves = Curves((0.0, 1.0), (0.0, 1.0))
    nothing = Distances(0, 0, 0, 0, 0, 0, 0)
    tensors = [
        TensorDrift(
            "m",
            "input",
            f"t{place}",
            "drift" if place == 29 else "stable",
            "",
            nothing,
            (),
            (),
            curves=curves,
        )
        for place in range(30)
    ]
    page = Elements(render_page(_result([], tensors)))
    drawn = [str(one["aria-label"]) for one in page.named("figure")]
    assert len(drawn) == 24
    assert " t29 " in drawn[0]


@pytest.mark.parametrize("rounding", [0.0, 0.3])
def test_what_is_drawn_is_the_distribution_that_is_judged(rounding: float) -> None:
    draw = np.random.default_rng(2)
    before, now = draw.normal(0, 1, 40_000), draw.normal(1, 1, 40_000)
    both = Shares.of(_sketch(before)), Shares.of(_sketch(now))
    drawn = [np.array(both[0].spread()), np.array(both[1].forgive(both[0], rounding).spread())]
    assert drawn[0].tolist() == sorted(drawn[0])
    middles = (np.arange(256) + 0.5) / 256
    assert np.abs(drawn[0] - np.quantile(before, middles)).max() < 0.15
    points = np.union1d(*drawn)
    shares = [np.searchsorted(one, points, side="right") / 256 for one in drawn]
    found = measure_distances(_sketch(before), _sketch(now), rounding)
    assert np.abs(shares[0] - shares[1]).max() == pytest.approx(found.ks, abs=2 / 256)


def test_equal_numbers_everywhere_can_be_drawn() -> None:
    curves = Curves((3.0,) * 256, (3.0,) * 256)
    nothing = Distances(0, 0, 0, 0, 0, 0, 0)
    tensor = TensorDrift("m", "output", "y", "stable", "", nothing, (3, 3, 3), (3, 3, 3), curves=curves)
    assert len(Elements(render_page(_result([], [tensor]))).named("figure")) == 1


def test_a_page_that_cannot_be_written_is_one_line(bundle: Path, field: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="name another one with -o"):
        edgekit.drift(bundle, field, output=tmp_path / "file" / "page")
