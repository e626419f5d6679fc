"""Which program runs a package on which host, and what a refusal by Core ML is."""

from __future__ import annotations

import sys

import pytest

from edgekit.errors import BundleError, UsageError
from edgekit.targets.coreml.interpret import MilSession
from edgekit.targets.coreml.mac_session import (
    MAC_PROVES,
    MacProgram,
    chosen_units,
    open_program,
    runs_core_ml,
    words_of_proof,
)
from edgekit.targets.coreml.package_io import Port, read_ports
from tests.targets.coreml_mac import Built, X, fake_coremltools, write_built

pytest.importorskip("coremltools")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    out = tmp_path_factory.mktemp("built")
    return out, *write_built(out)


def test_ports_are_what_the_package_says(built: Built) -> None:
    inputs, outputs = read_ports(built[0] / "model.fp32.mlpackage")
    assert inputs == (Port("x:0", "x_0", "float32", (1, 3), 2),)
    assert [port.source for port in outputs] == ["y"]


def test_core_ml_runs_on_a_mac_and_the_interpreter_elsewhere(
    built: Built, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = built[0] / "model.fp32.mlpackage"
    assert isinstance(open_program(package, "linux"), MilSession)
    monkeypatch.setitem(sys.modules, "coremltools", fake_coremltools())
    program = open_program(package, "darwin")
    assert isinstance(program, MacProgram)
    assert program.run({"x_0": X}, ("tap",))["y"].tolist() == (2 * X).tolist()
    assert runs_core_ml("darwin")
    assert not runs_core_ml("linux")
    assert words_of_proof("interpreted", "linux") == "interpreted"
    assert words_of_proof("interpreted", "darwin") == MAC_PROVES


@pytest.mark.parametrize(("failing", "words"), [("load ALL", "cannot load"), ("predict", "cannot run")])
def test_what_core_ml_refuses_is_a_failure_and_not_unproven(
    built: Built, monkeypatch: pytest.MonkeyPatch, failing: str, words: str
) -> None:
    monkeypatch.setitem(sys.modules, "coremltools", fake_coremltools())
    monkeypatch.setenv("FAKE_FAIL", failing)
    with pytest.raises(BundleError, match=f"Core ML {words} model.fp32.mlpackage: Error in Core ML at"):
        MacProgram(built[0] / "model.fp32.mlpackage", "all").run({"x_0": X})


def test_compute_units_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGEKIT_COREML_UNITS", raising=False)
    assert chosen_units() == "all"
    monkeypatch.setenv("EDGEKIT_COREML_UNITS", "cpuOnly")
    assert chosen_units() == "cpuOnly"
    monkeypatch.setenv("EDGEKIT_COREML_UNITS", "gpu")
    with pytest.raises(UsageError, match="use one of: all, cpuOnly"):
        chosen_units()
