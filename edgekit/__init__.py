"""edgekit: one model in, every edge device out, proven on your machine before it touches a phone."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from edgekit._late_sympy import load_sympy_late

__version__ = "0.1.0"

load_sympy_late()  # before any room imports onnx_ir

if TYPE_CHECKING:
    from edgekit._bundle_api import (
        cost as cost,
    )
    from edgekit._bundle_api import (
        describe as describe,
    )
    from edgekit._bundle_api import (
        drift as drift,
    )
    from edgekit._bundle_api import (
        gate as gate,
    )
    from edgekit._bundle_api import (
        package as package,
    )
    from edgekit._bundle_api import (
        profile as profile,
    )
    from edgekit._bundle_api import (
        pull as pull,
    )
    from edgekit._bundle_api import (
        push as push,
    )
    from edgekit._bundle_api import (
        report as report,
    )
    from edgekit._bundle_api import (
        sign as sign,
    )
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
        debug as debug,
    )
    from edgekit.api import (
        doctor as doctor,
    )
    from edgekit.api import (
        estimate as estimate,
    )
    from edgekit.api import (
        export as export,
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
        sweep as sweep,
    )
    from edgekit.api import (
        verify as verify,
    )

_OF_MODELS = (
    "calibrate",
    "check",
    "convert",
    "debug",
    "doctor",
    "estimate",
    "export",
    "inspect",
    "inspect_components",
    "list_devices",
    "list_targets",
    "sweep",
    "verify",
)
_OF_BUNDLES = (
    "cost",
    "describe",
    "drift",
    "gate",
    "package",
    "profile",
    "pull",
    "push",
    "report",
    "sign",
)
__all__ = ["__version__", *_OF_MODELS, *_OF_BUNDLES]  # noqa: PLE0604 - names are loaded lazily


def __getattr__(name: str) -> object:
    for names, room in ((_OF_MODELS, "edgekit.api"), (_OF_BUNDLES, "edgekit._bundle_api")):
        if name in names:
            return getattr(import_module(room), name)
    raise AttributeError(f"module 'edgekit' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
