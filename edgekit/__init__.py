"""edgekit: one model in, every edge device out, proven on your machine before it touches a phone."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from edgekit._late_sympy import load_sympy_late

__version__ = "0.1.0"

load_sympy_late()  # before any room imports onnx_ir

if TYPE_CHECKING:
    from edgekit.api import (
        calibrate as calibrate,
    )
    from edgekit.api import (
        check as check,
    )
    from edgekit.api import (
        convert as convert,
    )
    from edgekit.api import (
        cost as cost,
    )
    from edgekit.api import (
        debug as debug,
    )
    from edgekit.api import (
        describe as describe,
    )
    from edgekit.api import (
        doctor as doctor,
    )
    from edgekit.api import (
        drift as drift,
    )
    from edgekit.api import (
        estimate as estimate,
    )
    from edgekit.api import (
        export as export,
    )
    from edgekit.api import (
        gate as gate,
    )
    from edgekit.api import (
        inspect as inspect,
    )
    from edgekit.api import (
        inspect_components as inspect_components,
    )
    from edgekit.api import (
        list_devices as list_devices,
    )
    from edgekit.api import (
        list_targets as list_targets,
    )
    from edgekit.api import (
        package as package,
    )
    from edgekit.api import (
        profile as profile,
    )
    from edgekit.api import (
        pull as pull,
    )
    from edgekit.api import (
        push as push,
    )
    from edgekit.api import (
        report as report,
    )
    from edgekit.api import (
        sign as sign,
    )
    from edgekit.api import (
        sweep as sweep,
    )
    from edgekit.api import (
        verify as verify,
    )

_PUBLIC = (
    "calibrate",
    "check",
    "convert",
    "cost",
    "debug",
    "describe",
    "doctor",
    "drift",
    "estimate",
    "export",
    "gate",
    "inspect",
    "inspect_components",
    "list_devices",
    "list_targets",
    "package",
    "profile",
    "pull",
    "push",
    "report",
    "sign",
    "sweep",
    "verify",
)
__all__ = ["__version__", *_PUBLIC]  # noqa: PLE0604 - names are loaded lazily from api.py


def __getattr__(name: str) -> object:
    if name in _PUBLIC:
        return getattr(import_module("edgekit.api"), name)
    raise AttributeError(f"module 'edgekit' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
