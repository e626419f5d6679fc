"""A bundle to a registry and back: which registry a destination names."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from edgekit.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from edgekit._values import Progress

# Scheme of a destination -> the module and function that push there, and pull from there.
_PUSH = {
    "mlflow+http": "edgekit._package.push_mlflow:push_mlflow",
    "mlflow+https": "edgekit._package.push_mlflow:push_mlflow",
    "oci": "edgekit._package.push_oci:push_oci",
}
_PULL = {"oci": "edgekit._package.push_oci:pull_oci"}


@dataclass(frozen=True)
class PushResult:
    """Where the bundle lies now, by digest; how many files were sent and how many lay there already."""

    place: str
    digest: str
    bundle: str
    sent: int
    sent_bytes: int
    kept: int
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class PullResult:
    """A pulled bundle, every byte of it checked."""

    place: str
    digest: str
    bundle: str
    folder: Path


def push_bundle(path: Path, destination: str, progress: Progress) -> PushResult:
    """Push the bundle at `path` to `oci://HOST[:PORT]/REPOSITORY[:TAG]` or `mlflow+http://HOST[:PORT]/NAME`.

    Raises UsageError for another destination, BundleError for a bundle that is not as sealed, OutputError
    where the registry refuses, breaks off or cannot be reached.
    """
    push: Any = _find(_PUSH, destination)
    result: PushResult = push(path, destination, progress)
    return result


def pull_bundle(source: str, output: Path, progress: Progress) -> PullResult:
    """Pull what `push_bundle` put at `source` into the new folder `output`; errors as `push_bundle`."""
    pull: Any = _find(_PULL, source)
    result: PullResult = pull(source, output, progress)
    return result


def _find(table: dict[str, str], place: str) -> object:
    scheme = place.partition("://")[0]
    if "://" not in place or scheme not in table:
        known = ", ".join(f"{name}://" for name in table)
        raise UsageError(
            f"'{place[:200]}' is no place in a registry",
            fix=f"it begins with one of {known}, as oci://HOST/NAME",
        )
    module, _, function = table[scheme].partition(":")
    return getattr(import_module(module), function)
