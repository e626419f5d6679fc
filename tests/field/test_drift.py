"""edgekit drift: a fleet like the baseline passes, a shifted one fails, files of others are refused."""

from __future__ import annotations

import json
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime as ort
import pytest

import edgekit
from edgekit._field.distances import measure_distances
from edgekit._field.thresholds import load_thresholds
from edgekit._monitor.device.monitor import Monitor
from edgekit._monitor.device.sketch import Sketch
from edgekit.errors import EdgekitError, FieldError, UsageError
from tests.converted import make_bundle, run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("drift"))


@pytest.fixture(scope="module")
def digest(bundle: Path) -> str:
    return edgekit.verify(bundle).digest


def write_field(
    path: Path, bundle: Path, digest: str, *, shift: float = 0.0, latency_s: float = 0.01, count: int = 60
) -> Path:
    """A field file of the toy model itself, run on normal inputs."""
    session = ort.InferenceSession(bundle.parent.parent / "m.onnx")
    monitor = Monitor(digest, device=path.stem, share=1.0)
    draw = np.random.default_rng(len(path.stem))
    for _ in range(count):
        feeds = {"x": (draw.standard_normal((1, 3, 16, 16)) + shift).astype(np.float32)}
        monitor.observe(feeds, {"y": session.run(["y"], feeds)[0]}, latency_s)
    monitor.write_json(str(path))
    return path


def sketch_of(values: np.ndarray) -> Sketch:
    sketch = Sketch(seed=0)
    sketch.update(values)
    return sketch


@pytest.mark.parametrize("shift", [0.0, 0.25, 0.5, 2.0])
def test_distances_are_those_of_all_numbers(shift: float) -> None:
    draw = np.random.default_rng(8)
    before, now = np.sort(draw.normal(0, 2, 60_000)), np.sort(draw.normal(2 * shift, 2, 60_000))
    found = measure_distances(sketch_of(before), sketch_of(now))
    both = np.concatenate((before, now))
    shares = [np.searchsorted(one, both, side="right") / len(one) for one in (before, now)]
    assert found.ks == pytest.approx(np.abs(shares[0] - shares[1]).max(), abs=found.ks_error)
    assert found.ks_error < 0.03
    # Of as many numbers on both sides it is the mean distance of the n-th from the n-th.
    assert found.wasserstein == pytest.approx(np.abs(before - now).mean() / 2, abs=0.02)
    edges = np.quantile(before, np.arange(1, 10) / 10)
    theirs, mine = (np.histogram(one, [-np.inf, *edges, np.inf])[0] / len(one) for one in (before, now))
    assert found.psi == pytest.approx(((mine - theirs) * np.log(mine / theirs)).sum(), rel=0.1, abs=0.005)


def test_chance_alone_is_no_drift_however_few_the_numbers() -> None:
    draw = np.random.default_rng(4)
    limits, wrong = load_thresholds().metrics, 0
    for _ in range(200):
        found = measure_distances(
            sketch_of(draw.exponential(size=40)), sketch_of(draw.exponential(size=4000))
        )
        wrong += any(
            getattr(found, name) - getattr(found, f"{name}_error") > limits[name].drift
            for name in ("psi", "ks", "wasserstein")
        )
    assert wrong <= 4
    found = measure_distances(sketch_of(draw.normal(size=40)), sketch_of(draw.normal(size=4000)))
    assert found.psi_error == pytest.approx(21.666 * (1 / 40 + 1 / 4000), rel=0.01)  # chi squared's table, 9


def test_the_limits_of_the_three_metrics_are_of_the_same_shift() -> None:
    """thresholds.toml says so: a quarter and half a standard deviation of a normal distribution."""
    limits = load_thresholds().metrics
    for shift, name in ((0.25, "moved"), (0.5, "drift")):
        assert 2 * NormalDist().cdf(shift / 2) - 1 == pytest.approx(getattr(limits["ks"], name), abs=0.004)
        assert getattr(limits["wasserstein"], name) == shift


@pytest.mark.parametrize(("shift", "rounding"), [(0.5, 0.2), (0.5, 0.6), (-1.0, 0.25)])
def test_so_much_as_rounding_may_move_each_number_is_not_counted(shift: float, rounding: float) -> None:
    draw = np.random.default_rng(8)
    before, now = np.sort(draw.normal(0, 2, 60_000)), np.sort(draw.normal(shift, 2, 60_000))
    found = measure_distances(sketch_of(before), sketch_of(now), rounding)
    beyond = np.maximum(np.abs(before - now) - rounding, 0)
    assert found.wasserstein == pytest.approx(beyond.mean() / 2, abs=0.02)
    left = np.sign(shift) * max(abs(shift) - rounding, 0)
    assert found.ks == pytest.approx(2 * NormalDist().cdf(abs(left) / 4) - 1, abs=found.ks_error)


def test_numbers_near_zero_that_int8_rounds_to_zero_are_no_drift() -> None:
    draw = np.random.default_rng(3)
    # As a detector gives: almost everything a little above 0, some near 1.
    before, now = (
        np.where(draw.random(50_000) < 0.03, draw.uniform(0.8, 1, 50_000), 10 ** draw.uniform(-7, -4, 50_000))
        for _ in range(2)
    )
    int8 = np.round(now * 255) / 255
    error = float(np.sqrt(np.mean((int8 - now) ** 2)))
    assert measure_distances(sketch_of(before), sketch_of(int8)).ks > 0.9
    forgiven = measure_distances(sketch_of(before), sketch_of(int8), error)
    assert forgiven.psi < 0.01
    assert forgiven.ks < forgiven.ks_error
    brighter = np.where(draw.random(50_000) < 0.3, 0.9, now)
    assert measure_distances(sketch_of(before), sketch_of(brighter), error).ks == pytest.approx(
        0.29, abs=0.03
    )


def test_a_lump_of_equal_numbers_that_moves_is_seen() -> None:
    before, now = np.zeros(5000), np.zeros(5000)
    now[:2500] = -1e-3
    found = measure_distances(sketch_of(before), sketch_of(now))
    assert found.ks == pytest.approx(0.5, abs=found.ks_error)
    assert found.psi > 1


def test_a_fleet_like_the_baseline_passes(bundle: Path, digest: str, tmp_path: Path) -> None:
    for name in ("a", "bb", "ccc"):
        write_field(tmp_path / f"{name}.json", bundle, digest)
    result = edgekit.drift(bundle, tmp_path, baseline=bundle.parent.parent / "data")
    assert result.passed
    assert (result.files, result.devices, result.inferences) == (3, 3, 180)
    assert {(one.side, one.tensor, one.status) for one in result.tensors} == {
        ("input", "x", "stable"),
        ("output", "y", "stable"),
    }
    assert "6 samples" in result.notes[0]


def test_a_shifted_fleet_is_told_and_exits_1(bundle: Path, digest: str, tmp_path: Path) -> None:
    file = write_field(tmp_path / "sunny.json", bundle, digest, shift=1.0)
    told = run("drift", bundle, file)
    assert told.exit_code == 1, told.output
    assert "model input x: drift: psi" in told.output
    data = json.loads(run("drift", bundle, file, "--json").stdout)
    assert (data["schema"], data["passed"]) == ("edgekit.drift", False)
    x = next(one for one in data["drift"]["tensors"] if one["tensor"] == "x")
    assert x["distances"]["wasserstein"] == pytest.approx(1.0, abs=0.1)
    assert x["distances"]["ks"] == pytest.approx(2 * NormalDist().cdf(0.5) - 1, abs=0.05)


def test_few_inferences_give_no_verdict(bundle: Path, digest: str, tmp_path: Path) -> None:
    file = write_field(tmp_path / "new.json", bundle, digest, shift=5.0, count=3)
    result = edgekit.drift(bundle, file)
    assert result.passed
    assert {one.status for one in result.tensors} == {"unknown"}


def test_thresholds_of_a_file_count(bundle: Path, digest: str, tmp_path: Path) -> None:
    file = write_field(tmp_path / "sunny.json", bundle, digest, shift=1.0)
    limits = tmp_path / "limits.toml"
    parts = [f'[{name}]\nmoved = 9.0\ndrift = 9.0\nsource = "us"' for name in ("psi", "ks", "wasserstein")]
    limits.write_text("\n".join(["version = 1", *parts]))
    assert edgekit.drift(bundle, file, thresholds=limits).passed
    limits.write_text('version = 1\n[psii]\nmoved = 1.0\ndrift = 2.0\nsource = "us"')
    with pytest.raises(UsageError, match="did you mean 'psi'"):
        edgekit.drift(bundle, file, thresholds=limits)
    for wrong in (
        "moved = 1.0",
        "moved = 2.0\ndrift = 1.0",
        "moved = nan\ndrift = 1.0",
        "moved = 1\ndrift = 2",
    ):
        limits.write_text(f'[psi]\n{wrong}\nsource = "us"')
        with pytest.raises(UsageError, match=r"\[psi\]"):
            edgekit.drift(bundle, file, thresholds=limits)


def test_a_device_slower_than_the_profile_is_named(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path, "openvino")  # this machine is one of its devices
    field = tmp_path / "field"
    field.mkdir()
    profile = edgekit.profile(bundle, runs=20, warm_up=2, idle="0.1s").profile
    assert profile.matches is True
    row = next(one for one in profile.measurements if one.metric.endswith("int8/latency/p50"))
    assert row.value is not None
    for name, factor in (("slow", 10.0), ("fine", 0.9)):
        write_field(field / f"{name}.json", bundle, profile.bundle, latency_s=row.value * factor / 1e3)
    result = edgekit.drift(bundle, field)
    assert [one.device for one in result.missed] == ["slow"]
    assert result.missed[0].median == pytest.approx(10 * row.value, rel=0.01)
    assert list(result.correction.values()) == pytest.approx([(10 + 0.9) / 2], rel=0.01)
    assert result.held == 2
    (file,) = bundle.with_name(f"{bundle.name}.profiles").glob("*.json")
    for matches in (None, False):
        file.write_text(json.dumps({**json.loads(file.read_text()), "matches": matches}))
        assert not edgekit.drift(bundle, field).held  # of a machine that may be another


def _change(key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda data: data.__setitem__(key, value)


DAMAGE: dict[str, Callable[[dict[str, Any]], None]] = {
    "of bundle 000000000000": _change("bundle", "0" * 64),
    "no component 'encoder'": _change("component", "encoder"),
    "no variant 'int4'": _change("variant", "int4"),
    "/version": _change("version", 2),
    "/ended": _change("ended", 10**400),
    "/sketched": _change("sketched", -1),
    "/extra": _change("extra", 1),
    "tensor 'z' is none": lambda data: data["inputs"].update(z=data["inputs"]["x"]),
    "do not add up": lambda data: data["inputs"]["x"].update(count=7),
    "not of the same numbers": lambda data: data["latency_s"]["counts"].__setitem__(0, 5),
    "and its counts": lambda data: data["latency_s"].update(counts=[0] * 32),
    "2**62": lambda data: data["outputs"]["y"].update(nonfinite=10**400),
}


@pytest.mark.parametrize("rule", DAMAGE)
def test_a_file_of_another_model_or_damaged_is_refused_by_name(
    bundle: Path, digest: str, tmp_path: Path, rule: str
) -> None:
    file = write_field(tmp_path / "unit.json", bundle, digest, count=2)
    data = json.loads(file.read_text())
    DAMAGE[rule](data)
    file.write_text(json.dumps(data))
    with pytest.raises(FieldError) as caught:
        edgekit.drift(bundle, file)
    assert rule in caught.value.problem
    assert "unit.json" in caught.value.problem


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"a":1,"a":1}', b'{"a":NaN}', b"9" * 10_000, b"null"],
)
def test_hostile_json_is_refused(bundle: Path, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "unit.json"
    file.write_bytes(content)
    with pytest.raises(FieldError, match=r"unit\.json"):
        edgekit.drift(bundle, file)


def test_a_truncated_file_and_an_empty_folder_are_refused(bundle: Path, digest: str, tmp_path: Path) -> None:
    file = write_field(tmp_path / "unit.json", bundle, digest, count=2)
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(FieldError, match=r"unit\.json"):
        edgekit.drift(bundle, tmp_path)
    file.unlink()
    with pytest.raises(FieldError, match=r"holds no \.json"):
        edgekit.drift(bundle, tmp_path)
    with pytest.raises(EdgekitError, match="cannot be read"):
        edgekit.drift(bundle, tmp_path / "absent.json")
