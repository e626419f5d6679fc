"""mac://: a real sshd, the real runner and the real Core ML script; Apple's own software is a stand-in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import edgekit
from edgekit.errors import UsageError
from edgekit.profiles.probes.mac import MacTransport
from edgekit.profiles.probes.ssh import CONFIG
from edgekit.profiles.probes.transport import DeviceError
from tests.converted import make_bundle
from tests.profile.mac_stand_in import make_mac
from tests.profile.sshd import SSHD, Sshd, start_sshd

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgekit._profile import Profile

pytestmark = pytest.mark.skipif(not Path(SSHD).exists(), reason="sshd is not installed (openssh-server)")


@pytest.fixture(scope="module")
def mac(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Sshd, Path]]:
    path, python = make_mac(tmp_path_factory.mktemp("mac"))
    running = start_sshd(tmp_path_factory.mktemp("sshd"), path=path)
    yield running, python
    running.stop()


@pytest.fixture(scope="module")
def profile(mac: tuple[Sshd, Path], tmp_path_factory: pytest.TempPathFactory) -> Profile:
    server, python = mac
    bundle = make_bundle(tmp_path_factory.mktemp("made"), "macbook-m4")
    words: Any = {"duration": "2s", "warm_up": 1, "idle": "1s", "python": str(python)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CONFIG, str(server.config))
        return edgekit.profile(bundle, server.place.replace("ssh://", "mac://"), **words).profile


def test_int8_and_its_baseline_run_in_turns_and_are_compared(profile: Profile) -> None:
    assert profile.complete, profile.problem
    assert [artifact.variant for artifact in profile.artifacts] == ["int8", "fp16"]
    for artifact in profile.artifacts:
        assert artifact.parity[0].sqnr_db > 20
        assert len(artifact.turns) == 5
        assert artifact.runtime == "Core ML, coremltools 9.0, compute units all"


def test_the_mac_says_what_it_is_and_that_it_is_the_bundles_device(profile: Profile) -> None:
    facts = profile.facts
    assert (facts["model"], facts["cpu"], facts["macos"]) == ("Mac16,1", "Apple M4", "15.5")
    assert (facts["supply"], facts["power_mode"], facts["memory"]) == ("AC Power", "normal", "16777216 kB")
    assert profile.matches is True


def test_core_mls_plan_says_where_operations_run(profile: Profile) -> None:
    found = {row.unit: (row.ops, row.why) for row in profile.artifacts[0].placements}
    assert {unit: ops for unit, (ops, _) in found.items()} == {"CPU": 1, "GPU": 1, "Neural Engine": 1}
    assert found["Neural Engine"][1] == "Core ML's plan, 50% of its cost: 1 conv"


def test_powermetrics_gives_power_and_energy_of_the_three_units_together(profile: Profile) -> None:
    found = {row.metric.partition("/")[2]: row for row in profile.measurements}
    assert found["int8/power/mean"].value == pytest.approx(1.172)
    assert "CPU + GPU + Neural Engine" in found["int8/power/mean"].basis
    assert found["int8/energy/dynamic"].value == pytest.approx(0.0, abs=1e-6)  # the same when idle
    assert {trace.name for trace in profile.traces if trace.unit == "W"} >= {
        "power/neural-engine",
        "power/cpu",
    }


def test_a_machine_that_is_no_mac_is_refused(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start_sshd(tmp_path_factory.mktemp("linux"))
    try:
        monkeypatch.setenv(CONFIG, str(server.config))
        with pytest.raises(DeviceError, match=r"is no Mac but Linux.*write ssh://"):
            MacTransport(server.place.removeprefix("ssh://")).open()
    finally:
        server.stop()


def test_an_address_that_is_none_names_its_own_scheme() -> None:
    with pytest.raises(UsageError, match=r"mac://user@host"):
        MacTransport("a b")
