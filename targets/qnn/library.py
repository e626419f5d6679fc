"""onnxruntime-qnn on this host: whether it can load here, and sessions on its x86 HTP library."""

from __future__ import annotations

import os
import platform
import sys
from contextlib import contextmanager
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from edgekit.errors import MissingToolError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

WHEEL = "onnxruntime-qnn>=2.7"
PROVIDER = "QNNExecutionProvider"
_LEAST_GLIBC = (2, 35)
_INSTALL = f'pip install "{WHEEL}"'


def explain_missing() -> str | None:
    """The install command, or the reason why no install helps; None where the library can be loaded."""
    if find_spec("onnxruntime_qnn") is None:
        return _INSTALL
    return explain_glibc(platform.libc_ver())


def explain_glibc(found: tuple[str, str]) -> str | None:
    """Why this C library (name, version) cannot load the wheel's; None where it can."""
    name, version = found
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
    if name == "glibc" and numbers >= _LEAST_GLIBC:
        return None
    least = ".".join(map(str, _LEAST_GLIBC))
    return (
        f"a system with glibc {least} or later (here is {name or 'another C library'} {version}): Debian 12, "
        "Ubuntu 22.04 or newer, or a container of one"
    )


def refuse_missing() -> None:
    """MissingToolError where the library cannot be loaded."""
    need = explain_missing()
    if need is not None:
        raise MissingToolError("Qualcomm's compiler (onnxruntime-qnn) cannot run here", fix=need)


def version() -> str:
    """The installed wheel's version."""
    return metadata.version("onnxruntime-qnn")


def open_session(model: bytes | str, provider: Mapping[str, str], entries: Mapping[str, str]) -> Any:
    """An onnxruntime session with the HTP first and the CPU for what it leaves.

    provider: options of the QNN provider; entries: of the session. Raises what onnxruntime raises.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4
    for name, value in entries.items():
        options.add_session_config_entry(name, value)
    devices, backend = _register()
    options.add_provider_for_devices(devices, {"backend_path": backend, **provider})
    with quiet_streams():
        return ort.InferenceSession(model, options)


@cache
def _register() -> tuple[list[Any], str]:
    """The provider's devices and the path of the HTP library; registered once a process."""
    refuse_missing()
    import onnxruntime as ort
    import onnxruntime_qnn

    with quiet_streams():
        ort.register_execution_provider_library(PROVIDER, onnxruntime_qnn.get_library_path())
        devices = [device for device in ort.get_ep_devices() if device.ep_name == PROVIDER]
    return devices, onnxruntime_qnn.get_qnn_htp_path()


@contextmanager
def quiet_streams() -> Iterator[None]:
    """Qualcomm's library prints about its own threads on loading; nobody asked."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(1), os.dup(2)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        yield
    finally:
        for number, copy in zip((1, 2), kept, strict=True):
            os.dup2(copy, number)
            os.close(copy)
        os.close(nowhere)
