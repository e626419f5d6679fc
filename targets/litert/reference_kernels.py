"""LiteRT's plain reference kernels: a second reader of the same file, where they can read it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.errors import BundleError
from edgekit.targets.litert.artifact_macs import op_names
from edgekit.targets.litert.session import LiteRTSession

if TYPE_CHECKING:
    from pathlib import Path

    from edgekit._values import Artifact

NAME = "LiteRT's reference kernels"
# About 2 MACs a nanosecond on one core: two runs of four samples are a second, which is enough.
_MOST_MACS = 250_000_000


def open_reference(artifact: Artifact, folder: Path) -> LiteRTSession | str:
    """The file on the reference kernels, or why it is not proven on them."""
    file = folder / artifact.main
    if artifact.variant not in ("fp32", "fp16", "int8"):
        return "they have no kernels for integer weights beside float data"
    if artifact.macs is None or artifact.macs.total > _MOST_MACS:
        return f"they are slow, and the file has more than {_MOST_MACS // 10**6} million MACs"
    if artifact.variant == "int8" and "ELU" in op_names(file.read_bytes()):
        return "they have no int8 ELU"
    try:
        return LiteRTSession(file, "reference", layouts=artifact.layouts)
    except BundleError as error:
        return str(error)
