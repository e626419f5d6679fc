"""The parts of the Mac scripts that need no Mac: power, statistics, golden data, edgekit's own runner."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edgekit._values import Artifact
from edgekit.targets.coreml import CoreML
from edgekit.targets.coreml.interpret import MilSession
from edgekit.targets.coreml.package_io import package_of, read_ports

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

from tests.targets.coreml_mac import (
    FEEDS,
    PHONE,
    ROOM,
    WANT,
    Interpreted,
    X,
    fake_coremltools,
    load_script,
    scripts_on_path,
    with_integers,
)

pytest.importorskip("coremltools")


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with scripts_on_path(monkeypatch):
        yield


SAMPLES = """Machine model: Mac14,2
OS version: 25C56

*** Sampled system activity (Fri Sep 11 13:41:45 2026 -0700) (1000.00ms elapsed) ***

CPU Power: 9999 mW
GPU Power: 9999 mW
ANE Power: 9999 mW
Combined Power (CPU + GPU + ANE): 29997 mW

*** Sampled system activity (Fri Sep 11 13:41:46 2026 -0700) (1002.90ms elapsed) ***

**** Processor usage ****

E-Cluster HW active frequency: 1248 MHz
CPU 0 frequency: 1359 MHz

CPU Power: 823 mW
GPU Power: 26 mW
ANE Power: 323 mW
Combined Power (CPU + GPU + ANE): 1172 mW

**** Thermal pressure ****

Current pressure level: Nominal

*** Sampled system activity (Fri Sep 11 13:41:47 2026 -0700) (1010.09ms elapsed) ***

CPU Power: 205 mW
GPU Power: 19 mW
ANE Power: 221 mW
Combined Power (CPU + GPU + ANE): 445 mW
"""


def test_power_is_the_mean_over_time_without_the_first_sample(scripts: None) -> None:
    power = load_script("power")
    found = power.mean_power(power.parse_samples(SAMPLES))
    assert found["neural-engine"] == pytest.approx((323 * 1002.90 + 221 * 1010.09) / (1002.90 + 1010.09))
    assert found["combined"] == pytest.approx((1172 * 1002.90 + 445 * 1010.09) / (1002.90 + 1010.09))
    assert set(found) == {"cpu", "gpu", "neural-engine", "combined"}
    assert power.parse_samples("CPU Power: 1 mW\n") == []
    watts = power.parse_samples(SAMPLES.replace("ANE Power: 221 mW", "ANE Power: 0.221 W"))
    assert watts[-1]["neural-engine"] == pytest.approx(221)


def test_power_is_sampled_while_the_model_runs(scripts: None, tmp_path: Path) -> None:
    power = load_script("power")
    fake = tmp_path / "powermetrics"
    fake.write_text(f"#!/bin/sh\nsleep 0.3\ncat <<'END'\n{SAMPLES}END\n")
    fake.chmod(0o755)
    runs: list[int] = []
    found, done = power.sample_while(lambda: runs.append(1), 1, command=[str(fake)])
    assert found["cpu"] == pytest.approx(513, abs=2)
    assert done == len(runs) > 0


def test_sudo_that_would_ask_for_a_password_is_an_error_with_a_way_out(scripts: None, tmp_path: Path) -> None:
    power = load_script("power")
    fake = tmp_path / "sudo"
    fake.write_text("#!/bin/sh\necho 'sudo: a password is required' >&2\nexit 1\n")
    fake.chmod(0o755)
    with pytest.raises(Exception, match=r"a password is required.*run `sudo -v`"):
        power.sample_while(None, 1, command=[str(fake)])
    assert power.COMMAND[:2] == ["sudo", "-n"], "never asks"


def test_statistics_are_numpys(scripts: None) -> None:
    timing = load_script("timing")
    times = list(np.random.default_rng(3).exponential(2, 57))
    found = timing.statistics(times)
    for rank in (50, 90, 95, 99):
        assert found[f"p{rank}"] == pytest.approx(np.percentile(times, rank))
    assert found["mean"] == pytest.approx(np.mean(times))
    assert found["std"] == pytest.approx(np.std(times))
    assert (found["min"], found["max"], found["count"]) == (min(times), max(times), 57)


def test_rounds_alternate_and_warm_up_is_apart(scripts: None) -> None:
    timing = load_script("timing")
    order: list[str] = []
    runs = {name: (lambda name=name: order.append(name)) for name in "ab"}
    found = timing.time_side_by_side(runs, rounds=2, repeats=2, warm_up=1)
    assert "".join(order) == "aaabbb" + "bbbaaa"
    assert [len(found["a"][kind]) for kind in ("warm_up", "latency")] == [2, 4]


@pytest.mark.parametrize(
    ("got", "want", "expected"),
    [
        ([1, 2], [1, 2], {"sqnr_db": None, "cosine": 1.0, "max_abs": 0.0}),
        ([0, 0], [0, 0], {"sqnr_db": None, "cosine": 1.0, "max_abs": 0.0}),
        ([3, 0], [0, 4], {"sqnr_db": 10 * np.log10(16 / 25), "cosine": 0.0, "max_abs": 4.0}),
        ([np.nan, 1], [np.nan, 1], {"sqnr_db": None, "cosine": 1.0, "max_abs": 0.0}),
        ([1, 1], [0, 0], {"sqnr_db": -300.0, "cosine": 0.0, "max_abs": 1.0}),
    ],
)
def test_comparison_is_the_formula(scripts: None, got: Any, want: Any, expected: dict[str, float]) -> None:
    found = load_script("golden").compare(np.array(got, np.float32), np.array(want, np.float32))
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("got", [[np.nan, 1], [np.inf, 1], [1, 2, 3]])
def test_no_figure_hides_a_broken_output(scripts: None, got: list[float]) -> None:
    with pytest.raises(Exception, match="expected"):
        load_script("golden").compare(np.array(got), np.array([1.0, 1.0]))


def test_golden_inputs_are_fed_as_core_ml_takes_them(scripts: None) -> None:
    golden = load_script("golden")

    class Row:
        source, dtype = "x", "int32"

    assert golden.as_fed(Row, np.array(7, np.int64)).tolist() == [7]
    assert golden.as_fed(Row, np.array([True])).dtype == np.int32
    with pytest.raises(Exception, match="32-bit"):
        golden.as_fed(Row, np.array([1 << 40]))
    Row.dtype = "image"
    with pytest.raises(Exception, match="image"):
        golden.as_fed(Row, np.zeros(3, np.float32))


def test_pickled_golden_data_are_never_loaded(scripts: None, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(Exception, match="cannot be read"):
        load_script("golden").read_array(str(tmp_path / "x.npy"))


def test_the_profiler_s_runner_gives_outputs_in_the_source_s_names_dtypes_and_ranks(
    scripts: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = with_integers(tmp_path)
    run_core_ml = load_script("run_core_ml")
    with pytest.raises(RuntimeError, match="on a Mac only"):
        run_core_ml.open_model("p", 1)
    fake = fake_coremltools()
    model = Interpreted(str(tmp_path / package_of(artifact)))
    monkeypatch.setitem(sys.modules, "coremltools", fake)
    fake.models.MLModel = lambda path, compute_units: model
    monkeypatch.setattr(run_core_ml.sys, "platform", "darwin")
    opened = run_core_ml.open_model(str(tmp_path / package_of(artifact)), 1)
    got = opened.run(FEEDS)
    for name, want in WANT.items():
        assert got[name].dtype == want.dtype
        assert np.array_equal(got[name], want)
    assert opened.prepare(FEEDS)().keys() == model.predict({"x": X, "k": np.array([3], np.int32)}).keys()
    assert "reason" in opened.layers(FEEDS)
    assert opened.describe().startswith("Core ML, coremltools 9.0, compute units all")
    monkeypatch.setenv("EDGEKIT_COREML_UNITS", "gpu")
    with pytest.raises(RuntimeError, match="is none of"):
        run_core_ml.open_model("p", 1)


def test_the_target_hands_the_runner_what_it_imports() -> None:
    target = CoreML()
    ran = target.device_run(Artifact("model", "fp32", "m.mlpackage", (), "-"), PHONE)
    assert ran.runtime == "run_core_ml"
    text = ran.files["run_core_ml.py"].read_text()
    own = {path.stem for path in (ROOM / "device").glob("*.py")}
    imported = set(re.findall(r"^import (\w+)$", text, re.MULTILINE)) & own
    assert {f"{name}.py" for name in imported} == set(ran.files) - {"run_core_ml.py"}


def test_golden_integers_and_scalars_compare_equal_through_the_interpreter(
    scripts: None, tmp_path: Path
) -> None:
    artifact = with_integers(tmp_path)
    golden, bundle_module = load_script("golden"), load_script("bundle")
    inputs, outputs = read_ports(tmp_path / package_of(artifact))
    paths: dict[str, dict[str, str]] = {"inputs": {}, "fp32": {}}
    for kind, arrays in (("inputs", FEEDS), ("fp32", WANT)):
        for name, array in arrays.items():
            paths[kind][name] = str(tmp_path / f"{kind}-{name}.npy")
            np.save(paths[kind][name], array)

    class Row:
        component, variant = "model", "fp32"

    Row.inputs = [bundle_module.Tensor(vars(port)) for port in inputs]  # type: ignore[attr-defined]
    Row.outputs = [bundle_module.Tensor(vars(port)) for port in outputs]  # type: ignore[attr-defined]
    Row.states = []  # type: ignore[attr-defined]
    session = MilSession(tmp_path / package_of(artifact))
    found = golden.compare_golden(Row, [paths], session.run)
    assert {key: figures["max_abs"] for key, figures in found.items()} == {("fp32", "y"): 0, ("fp32", "n"): 0}
