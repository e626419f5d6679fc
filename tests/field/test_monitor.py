"""The monitor: what it counts, what it writes, what it costs, and that it needs nothing but numpy."""

from __future__ import annotations

import json
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import edgekit
from edgekit._bundle import check_schema, load_schema
from edgekit._monitor.device.monitor import Monitor

DEVICE = Path(edgekit.__file__).parent / "_monitor" / "device"
DIGEST = "ab" * 32
LINE = re.compile(r'(\w+)\{((?:\w+="(?:[^"\\\n]|\\["\\n])*",?)*)\} (\S+)')


def watch(count: int = 40, **settings: object) -> Monitor:
    monitor = Monitor(DIGEST, variant="int8", device="unit-7", share=1.0, **settings)  # type: ignore[arg-type]
    draw = np.random.default_rng(0)
    for index in range(count):
        inputs = {"x": draw.normal(2, 1, (1, 3, 20, 20)).astype(np.float32)}
        monitor.observe(
            inputs,
            {"y": np.arange(4), 'b"\n\\': np.array([np.nan, 1], np.float32)},
            0.010 + index * 1e-4,
            0.5,
        )
    return monitor


def read_samples(text: str) -> dict[tuple[str, str], float]:
    """Every line by name and labels; a line that is not of the format fails."""
    found = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            match = LINE.fullmatch(line)
            assert match, line
            found[match[1], match[2]] = float(match[3])
    return found


def test_it_keeps_sketches_of_tensors_and_every_latency() -> None:
    monitor = watch()
    data = json.loads(json.dumps(monitor.to_json()))
    check_schema(data, load_schema("field.schema.json"), "it")
    assert (data["bundle"], data["device"], data["variant"]) == (DIGEST, "unit-7", "int8")
    assert (data["sketched"], sum(data["latency_s"]["counts"])) == (40, 40)
    assert data["latency_s"]["total"] == pytest.approx(sum(0.010 + index * 1e-4 for index in range(40)))
    assert monitor.latency.sketch().quantile(0.5) == pytest.approx(0.0119, abs=2e-4)
    x = monitor.sketches("inputs")["x"]
    assert x.count == 40 * 256
    assert x.quantile(0.5) == pytest.approx(2.0, abs=0.06)
    assert monitor.sketches("outputs")["y"].cdf([0, 1, 2, 3]).tolist() == pytest.approx([0.25, 0.5, 0.75, 1])
    assert monitor.sketches("outputs")['b"\n\\'].nonfinite == 40


def test_the_prometheus_file_is_of_the_text_format_and_readable_by_others(tmp_path: Path) -> None:
    path = tmp_path / "edgekit.prom"
    watch().write_prometheus(str(path))
    samples = read_samples(path.read_text())
    mine = f'bundle="{DIGEST[:12]}",component="model"'
    assert samples["edgekit_inference_latency_seconds_count", f'{mine},variant="int8"'] == 40
    below = {
        key[1]: value
        for key, value in samples.items()
        if key[0] == "edgekit_inference_latency_seconds_bucket"
    }
    assert below[f'{mine},le="0.01",variant="int8"'] == 1
    assert below[f'{mine},le="+Inf",variant="int8"'] == 40
    assert list(below.values()) == sorted(below.values())
    assert samples["edgekit_inference_energy_joules_sum", f'{mine},variant="int8"'] == 20
    odd = f'{mine},side="output",tensor="b\\"\\n\\\\",variant="int8"'
    assert samples["edgekit_tensor_nonfinite_total", odd] == 40
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert [one.name for one in tmp_path.iterdir()] == ["edgekit.prom"]


def test_sketching_stops_at_its_share_and_every_latency_still_counts() -> None:
    monitor = Monitor(DIGEST, share=0.01)
    image = np.zeros((1, 3, 224, 224), np.float32)
    for _ in range(200):
        monitor.observe({"x": image}, {}, 1e-6)
    assert monitor.latency.count == 200
    assert monitor.sketched == 1  # the first one took more than a hundredth of 200 microseconds


def test_any_memory_order_and_dtype_is_sketched() -> None:
    monitor = Monitor(DIGEST, share=1.0)
    array = np.arange(6000).reshape(60, 100).T[::2]
    monitor.observe({"x": array, "b": np.array([True, False])}, {}, 1.0)
    assert monitor.sketches("inputs")["x"].count == 256
    assert set(monitor.sketches("inputs")["x"].weighted()[0].astype(int)) <= set(array.reshape(-1))
    assert monitor.sketches("inputs")["b"].cdf([0.0]).tolist() == [0.5]


@pytest.mark.parametrize("sizes", [(5000,), (5000, 7000), (300, 300, 5000)])
def test_every_place_is_looked_at_as_often_whatever_the_sizes(sizes: tuple[int, ...]) -> None:
    monitor = Monitor(DIGEST, share=1.0)
    for turn in range(600):
        size = sizes[turn % len(sizes)]
        monitor.observe({}, {"y": np.arange(size) / size}, 1.0)
    sketch, points = monitor.sketches("outputs")["y"], np.linspace(0.05, 0.95, 19)
    assert sketch.count == 600 * 256
    # The numbers lie evenly in 0..1, so the share below a point is the point.
    assert np.abs(sketch.cdf(points) - points).max() < sketch.rank_error(1e-6) + 0.01


@pytest.mark.parametrize("kind", [np.float32, np.float64, int])
def test_a_latency_of_any_kind_of_number_is_written_as_a_number(tmp_path: Path, kind: type) -> None:
    monitor = Monitor(DIGEST)
    monitor.observe({}, {}, kind(2), energy_j=kind(3))
    monitor.write_json(str(tmp_path / "m.json"))
    monitor.write_prometheus(str(tmp_path / "m.prom"))
    data = json.loads((tmp_path / "m.json").read_text())
    assert (data["latency_s"]["total"], data["energy_j"]["total"]) == (2.0, 3.0)
    lines = dict(
        line.rsplit(" ", 1) for line in (tmp_path / "m.prom").read_text().splitlines() if line[0] != "#"
    )
    sums = {name.partition("{")[0]: float(value) for name, value in lines.items() if "_sum{" in name}
    assert sums == {"edgekit_inference_latency_seconds_sum": 2.0, "edgekit_inference_energy_joules_sum": 3.0}


@pytest.mark.parametrize("latency", [-1.0, float("nan"), float("inf")])
def test_a_latency_that_is_none_is_refused(latency: float) -> None:
    with pytest.raises(ValueError, match="no latency"):
        Monitor(DIGEST).observe({}, {}, latency)


def test_what_it_cannot_watch_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="inputs 'text' holds"):
        Monitor(DIGEST).observe({"text": np.array(["a"])}, {}, 1.0)
    with pytest.raises(ValueError, match="sha256"):
        Monitor("my-model")
    with pytest.raises(ValueError, match=r"\.prom"):
        Monitor(DIGEST).write_prometheus(str(tmp_path / "m.txt"))


def test_its_folder_works_alone_under_any_name(tmp_path: Path) -> None:
    shutil.copytree(DEVICE, tmp_path / "edgekit_monitor", ignore=shutil.ignore_patterns("__pycache__"))
    script = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import numpy\n"
        "from edgekit_monitor import Monitor\n"
        f"m = Monitor({DIGEST!r}); m.observe({{'x': numpy.ones(3)}}, {{}}, 0.1); m.write_json('f.json')\n"
        "print('edgekit' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("False\n", "")
    check_schema(json.loads((tmp_path / "f.json").read_text()), load_schema("field.schema.json"), "it")


def test_it_is_python_3_8() -> None:
    vermin = Path(sys.executable).with_name("vermin")
    done = subprocess.run(
        [vermin, "--target=3.8-", "--violations", "--eval-annotations", *sorted(DEVICE.glob("*.py"))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
