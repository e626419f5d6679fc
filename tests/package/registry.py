"""A real registry (Debian's docker-registry) on loopback, for the tests that push and pull."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_CONFIG = """version: 0.1
log: {{level: error}}
storage:
  filesystem: {{rootdirectory: {storage}}}
  maintenance: {{uploadpurging: {{enabled: false}}}}
http:
  addr: 127.0.0.1:{port}
{extra}"""


@dataclass(frozen=True)
class RunningRegistry:
    """`host` as in `oci://HOST/...`, and the folder in which the registry keeps its blobs."""

    host: str
    storage: Path

    def get(self, path: str) -> int:
        """Status of one GET, as anyone may ask."""
        connection = HTTPConnection(self.host, timeout=10)
        try:
            connection.request("GET", path, headers={"accept": "application/vnd.oci.image.manifest.v1+json"})
            return connection.getresponse().status
        finally:
            connection.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def run_registry(folder: Path, extra: str = "") -> Iterator[RunningRegistry]:
    """`extra`: more of the registry's configuration; without it everybody may do everything."""
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("docker-registry is not installed (apt-get install docker-registry)")
    running = RunningRegistry(f"127.0.0.1:{free_port()}", folder / "storage")
    config = folder / "registry.yml"
    config.write_text(
        _CONFIG.format(storage=running.storage, port=running.host.rpartition(":")[2], extra=extra)
    )
    process = subprocess.Popen([program, "serve", str(config)], stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 30
        while time.monotonic() < until and process.poll() is None:
            with suppress(OSError):
                running.get("/v2/")
                break
            time.sleep(0.05)
        yield running
    finally:
        process.terminate()
        process.wait(10)
