"""A real adbd and adb server in a network namespace of the test's own, for the real adb client outside it.

adbd listens on every address, so it never runs outside the namespace; the adb server in there is reached
by a socket file, which namespaces of the network do not hide.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

SERIAL = "127.0.0.1:5555"
_NO_VSOCK = Path(__file__).with_name("no_vsock.py")
# $1: what the device's processes find first on their PATH; the rest: how the server listens.
_SCRIPT = """ip link set lo up || exit 1
export HOME="$1" TMPDIR="$1"
(cd / && PATH="$1/bin:$PATH" ADB_TRACE= exec adbd) </dev/null >"$1/adbd.log" 2>&1 &
exec adb -L "localfilesystem:$1/adb.sock" nodaemon server >"$1/server.log" 2>&1
"""


@dataclass
class Adbd:
    """The running pair; `environment` leads an adb client to it."""

    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def environment(self) -> dict[str, str]:
        return {"ADB_SERVER_SOCKET": f"localfilesystem:{self.folder}/adb.sock", "HOME": str(self.folder)}

    def adb(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["adb", *words],
            env=os.environ | self.environment,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    def drop(self) -> None:
        """As if the cable were pulled: the server forgets the device, adbd runs on."""
        self.adb("disconnect", SERIAL)

    def connect(self) -> None:
        for _ in range(50):
            self.adb("connect", SERIAL)
            if self.adb("-s", SERIAL, "get-state").stdout.strip() == "device":
                return
            time.sleep(0.1)
        raise TimeoutError((self.folder / "server.log").read_text() + (self.folder / "adbd.log").read_text())

    def stop(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)


def start_adbd(folder: Path) -> Adbd:
    """Both, connected; a skip names what is missing, which CI does not allow."""
    refuse_missing_tools()
    (folder / "bin").mkdir(exist_ok=True)
    process = subprocess.Popen(
        ["unshare", "--net", sys.executable, str(_NO_VSOCK), "sh", "-c", _SCRIPT, "sh", str(folder)],
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        env=os.environ | {"PATH": f"{os.environ['PATH']}:/usr/sbin"},
    )
    device = Adbd(folder, process)
    try:
        # A client that finds no server would start one of its own, outside the namespace.
        for _ in range(100):
            if (folder / "adb.sock").exists():
                break
            time.sleep(0.05)
        device.connect()
    except BaseException:
        device.stop()
        raise
    return device


def refuse_missing_tools() -> None:
    missing = [name for name in ("adb", "unshare", "ip") if shutil.which(name) is None]
    if shutil.which("adbd", path=f"{os.environ['PATH']}:/usr/sbin") is None:
        missing.append("adbd (bookworm-backports)")
    if os.geteuid() != 0:
        missing.append("root, for a network namespace")
    elif not missing and subprocess.run(["unshare", "--net", "true"], check=False).returncode != 0:
        missing.append("the right to make a network namespace")
    if missing:
        reason = f"adbd cannot run here without: {', '.join(missing)}"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
