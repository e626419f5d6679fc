"""What the adb transport refuses without a device."""

from __future__ import annotations

import pytest

from edgekit.errors import UsageError
from edgekit.profiles.probes.adb import AdbTransport
from edgekit.profiles.probes.transport import DeviceError


def test_a_missing_adb_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(DeviceError, match="'adb' does not start"):
        AdbTransport("x").open()


@pytest.mark.parametrize("serial", ["", "-s", "a b", "$(id)", "a;b", "a\nb"])
def test_a_serial_with_other_characters_is_refused(serial: str) -> None:
    with pytest.raises(UsageError, match="no serial"):
        AdbTransport(serial)
