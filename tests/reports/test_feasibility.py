"""The feasibility report: verdicts of hand-made profiles, every form parsed by others, Chromium's page."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest

import edgekit
from edgekit._profile import ArtifactProfile, LayerTime, Profile, Trace, profiles_folder, save_profile
from edgekit._results import Measurement
from edgekit.errors import BundleError, UsageError
from tests.converted import make_bundle, run

if TYPE_CHECKING:
    from collections.abc import Iterator

CHROMIUM = shutil.which("chromium")
PDFTOTEXT = shutil.which("pdftotext")
EVIL = "<script>alert(1)</script>\x1b[31m&\"'|`\u202e"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("made"))


@pytest.fixture
def bundle(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "bundle"))


def digest_of(bundle: Path) -> str:
    import hashlib

    return hashlib.sha256((bundle / "manifest.json").read_bytes()).hexdigest()


def hand_made(bundle: Path, ms: list[float], **fields: Any) -> Profile:
    """A profile whose figures are known: the int8 artifact's mean and p90 are those of `ms`."""
    ordered = sorted(ms)
    rows = {
        "latency/mean": sum(ms) / len(ms),
        "latency/p50": ordered[len(ms) // 2],
        "latency/p90": ordered[-1],
    }
    manifest = json.loads((bundle / "manifest.json").read_text())
    component = manifest["components"][0]["name"]
    artifact = ArtifactProfile(
        component,
        "int8",
        "onnxruntime 1.32.0",
        tuple(ms),
        tuple(
            Measurement(f"{component}/int8/{name}", value, "ms", "measured", "by hand")
            for name, value in rows.items()
        ),
        layers=(LayerTime(EVIL, "Conv", 10.0), LayerTime("relu", "Relu", 1.0)),
    )
    profile = Profile(
        bundle=digest_of(bundle),
        target="ort-mobile",
        device="generic-ort-mobile",
        place="local",
        facts={"cpu": EVIL, "machine": "aarch64"},
        matches=True,
        started="2026-11-23T00:00:00+00:00",
        conditions={"threads": "1"},
        tools={"edgekit": "0"},
        artifacts=(artifact,),
        traces=(
            Trace("power/VDD_IN", "W", (0.0, 1.0, 2.0), (2.0, 5.0, 3.0)),
            Trace("temperature/cpu", "C", (0.0, 1.0), (40.0, 61.0)),
        ),
    )
    return replace(profile, **fields)


def keep(bundle: Path, profile: Profile, name: str = "a") -> None:
    save_profile(profile, profiles_folder(bundle) / f"{name}.json")


def verdicts(bundle: Path, out: Path, **words: Any) -> tuple[bool, dict[str, str], str]:
    """(passed, status by metric, overall) as report.json tells it."""
    report = edgekit.report(bundle, out, **words)
    device = json.loads((out / "report.json").read_text())["devices"][0]
    return report.passed, {row["metric"]: row["status"] for row in device["verdicts"]}, device["overall"]


def test_each_limit_gets_its_verdict_and_the_device_one(bundle: Path, tmp_path: Path) -> None:
    keep(bundle, hand_made(bundle, [40.0, 50.0, 60.0]))
    passed, status, overall = verdicts(
        bundle, tmp_path / "r", budget="latency=55ms,p90_latency=55ms,power=5W"
    )
    assert status == {"latency": "fits", "p90_latency": "does not fit", "power": "unknown"}
    assert (passed, overall) == (False, "does not fit")
    passed, _, overall = verdicts(bundle, tmp_path / "r", budget="latency=55ms,power=5W")
    assert (passed, overall) == (True, "unknown")
    passed, _, overall = verdicts(bundle, tmp_path / "r", budget="latency=55ms,temperature=70C,size=1MB")
    assert (passed, overall) == (True, "fits")


def test_a_verdict_says_its_margin_and_what_would_have_to_change(bundle: Path, tmp_path: Path) -> None:
    keep(bundle, hand_made(bundle, [80.0, 100.0, 120.0]))
    report = edgekit.report(bundle, tmp_path / "r", budget="latency=50ms,p90_latency=160ms")
    assert "latency: 100ms of 50ms: 2 times the limit, must fall by 50 %" in report.devices[0].reasons
    assert "p90_latency: 120ms of 160ms: 25 % to spare" in report.devices[0].reasons


def test_the_newest_profile_counts_and_those_of_other_bundles_do_not(bundle: Path, tmp_path: Path) -> None:
    keep(bundle, hand_made(bundle, [100.0] * 3), "old")
    keep(bundle, hand_made(bundle, [10.0] * 3, started="2026-11-24T00:00:00+00:00"), "new")
    foreign = hand_made(bundle, [500.0] * 3, started="2026-12-01T00:00:00+00:00")
    keep(bundle, replace(foreign, bundle="0" * 64), "foreign")
    passed, status, _ = verdicts(bundle, tmp_path / "r", budget="latency=50ms")
    assert passed
    assert status == {"latency": "fits"}


@pytest.mark.parametrize("matches", [False, None])
def test_figures_of_another_machine_judge_no_device(
    bundle: Path, tmp_path: Path, matches: bool | None
) -> None:
    keep(bundle, hand_made(bundle, [1.0] * 3, matches=matches))
    _, status, overall = verdicts(bundle, tmp_path / "r", budget="latency=50ms")
    assert (status["latency"], overall) == ("unknown", "unknown")


def test_without_a_profile_nothing_but_the_size_is_known(bundle: Path, tmp_path: Path) -> None:
    _, status, overall = verdicts(bundle, tmp_path / "r", budget="latency=50ms,size=1B")
    assert status == {"latency": "unknown", "size": "does not fit"}
    assert overall == "does not fit"


def test_a_regression_past_its_rule_fails_and_a_smaller_one_does_not(bundle: Path, tmp_path: Path) -> None:
    keep(bundle, hand_made(bundle, [100.0] * 3))
    edgekit.report(bundle, tmp_path / "old")
    keep(bundle, hand_made(bundle, [108.0] * 3, started="2026-11-24T00:00:00+00:00"), "b")
    words: Any = {"baseline": tmp_path / "old" / "report.json"}
    assert edgekit.report(bundle, tmp_path / "r", fail_if="p90_latency > +10%", **words).passed
    worse = edgekit.report(bundle, tmp_path / "r", fail_if=["latency > +5%"], **words)
    assert not worse.passed
    assert "latency 100 -> 108 (+8.0 %" in worse.regressions[0]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ({"fail_if": "latency > +5%"}, "go together"),
        ({"fail_if": "latency >= 5", "baseline": "x"}, "is no rule"),
        ({"fail_if": "latencie > +5%", "baseline": "x"}, "did you mean 'latency'"),
        ({"fail_if": "throughput > +5%", "baseline": "x"}, "more throughput is better"),
        ({"budget": "temperature=5W"}, "no unit of temperature"),
        ({"colour": "red"}, "no option 'colour'"),
    ],
)
def test_wrong_words_are_refused_and_write_nothing(
    bundle: Path, tmp_path: Path, words: Any, told: str
) -> None:
    with pytest.raises(UsageError, match=told):
        edgekit.report(bundle, tmp_path / "r", **words)
    assert not (tmp_path / "r").exists()


def test_a_baseline_that_is_none_and_a_bundle_twice_are_refused(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text("[1]")
    with pytest.raises(BundleError, match="no report"):
        edgekit.report(bundle, tmp_path / "r", baseline=tmp_path / "old.json", fail_if="latency > +5%")
    with pytest.raises(BundleError, match="same bundle"):
        edgekit.report([bundle, bundle], tmp_path / "r")


def test_the_command_prints_the_verdict_and_exits_1_where_it_is_broken(bundle: Path, tmp_path: Path) -> None:
    keep(bundle, hand_made(bundle, [100.0] * 3))
    broken = run("report", bundle, "--budget", "latency=50ms", "-o", tmp_path / "r")
    assert broken.exit_code == 1
    assert "does not fit" in broken.output
    assert run("report", bundle, "--budget", "latency=500ms", "-o", tmp_path / "r").exit_code == 0
    told = run("report", bundle, "-o", tmp_path / "r", "--json")
    assert json.loads(told.output) == json.loads((tmp_path / "r" / "report.json").read_text())


def test_junit_counts_what_failed_and_what_is_unknown(bundle: Path, tmp_path: Path) -> None:
    keep(bundle, hand_made(bundle, [100.0] * 3))
    edgekit.report(bundle, tmp_path / "r", budget="latency=50ms,power=1W")
    suite = ET.parse(tmp_path / "r" / "junit.xml").getroot()[0]
    assert (suite.get("failures"), suite.get("skipped")) == ("1", "1")
    assert len(suite) == int(suite.get("tests") or 0)


class Tags(HTMLParser):
    """Every tag with its attributes, and the text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


@pytest.fixture
def page(bundle: Path, tmp_path: Path) -> Path:
    keep(bundle, hand_made(bundle, [40.0, 50.0, 60.0, 55.0]))
    edgekit.report(bundle, tmp_path / "r", budget="latency=45ms,power=5W", title=f"Report {EVIL}")
    return tmp_path / "r" / "report.html"


def test_names_from_models_and_devices_stay_text(page: Path) -> None:
    text = page.read_text()
    tags = Tags()
    tags.feed(text)
    assert "script" not in {tag for tag, _ in tags.tags}
    assert not [name for _, attributes in tags.tags for name in attributes if name.startswith("on")]
    assert "\x1b" not in text
    assert "\u202e" not in text
    markdown = (page.parent / "report.md").read_text()
    assert "<script>" not in markdown


def test_the_page_asks_for_nothing_and_every_plot_has_words(page: Path) -> None:
    tags = Tags()
    tags.feed(page.read_text())
    for tag, attributes in tags.tags:
        assert tag not in ("link", "img", "iframe", "object")
        for name in ("src", "href", "xlink:href"):
            value = attributes.get(name)
            assert value is None or value.startswith("#"), (tag, value)
    figures = [attributes for tag, attributes in tags.tags if tag == "figure"]
    assert len(figures) >= 3
    assert all(attributes.get("aria-label") for attributes in figures)
    assert [tag for tag, _ in tags.tags].count("h1") == 1


def contrast(one: str, other: str) -> float:
    """WCAG 2's contrast ratio of two #rrggbb colours."""

    def luminance(colour: str) -> float:
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def themes() -> Iterator[dict[str, str]]:
    style = (Path(edgekit.__file__).parent / "reports" / "page" / "style.css").read_text()
    for block in re.findall(r":root \{([^}]*)\}", style)[:2]:
        yield dict(re.findall(r"--([a-z]+): (#[0-9a-f]{6})", block))


def test_text_has_the_contrast_that_wcag_asks_for_in_light_and_dark() -> None:
    found = list(themes())
    assert len(found) == 2
    for theme in found:
        for name in ("text", "soft", "good", "bad", "open", "link"):
            assert contrast(theme[name], theme["page"]) >= 4.5, (name, theme)


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_chromium_renders_the_page_without_a_console_error(page: Path, tmp_path: Path) -> None:
    common = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    profile = f"--user-data-dir={tmp_path / 'chromium'}"
    shot = tmp_path / "page.png"
    done = subprocess.run(
        [
            *common,
            profile,
            "--enable-logging=stderr",
            f"--screenshot={shot}",
            "--window-size=900,1600",
            page.as_uri(),
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert not [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert shot.stat().st_size > 20_000
    dom = subprocess.run(
        [*common, profile, "--dump-dom", page.as_uri()],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    ).stdout
    assert "does not fit" in dom
    assert "&lt;script&gt;" in dom
    printed = tmp_path / "page.pdf"
    command = [*common, profile, "--no-pdf-header-footer", f"--print-to-pdf={printed}", page.as_uri()]
    subprocess.run(command, capture_output=True, check=True, timeout=120)
    if PDFTOTEXT is not None:
        text = subprocess.check_output([PDFTOTEXT, "-layout", printed, "-"], text=True)
        assert "does not fit" in text
        assert "Provenance" in text
