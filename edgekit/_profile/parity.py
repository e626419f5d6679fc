"""The device's outputs beside fp32's golden ones."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from edgekit._bundle import read_npy
from edgekit._profile.job import FOLDER
from edgekit._verify import OutputComparison
from edgekit.errors import BundleError
from edgekit.profiles.probes.transport import DeviceError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy as np

    from edgekit._results import OutputParity
    from edgekit._verify import Golden
    from edgekit.profiles.probes.transport import Transport

_NAME = re.compile(r"outputs-[0-9]{1,6}-[0-9]{1,6}-[0-9]{1,6}\.npy")
_HEADER = 4096  # bytes of a .npy file beside its numbers


def compare_outputs(
    transport: Transport, samples: Sequence[Mapping[str, str]], golden: Golden, scratch: Path
) -> tuple[OutputParity, ...]:
    """Pull each sample's output files and compare them with fp32; () where the device made none.

    DeviceError for a file that is absent, not a tensor, or of another shape than fp32's.
    """
    comparisons: dict[str, OutputComparison] = {}
    for files, sample in zip(samples, golden.samples, strict=False):
        for name, expected in sample.fp32.items():
            if name not in files:
                raise DeviceError(
                    f"the device gave no output '{name}'", fix="convert again; report it if it stays"
                )
            place = scratch / "output.npy"
            transport.pull(f"{FOLDER}/{_checked(files[name])}", place, expected.nbytes * 8 + _HEADER)
            try:
                actual = read_npy(place)
            except BundleError as error:
                raise DeviceError(
                    f"output '{name}' from the device: {error.problem}", fix="run it again"
                ) from error
            comparisons.setdefault(name, OutputComparison(name, golden.scores)).add(actual, expected)
    return tuple(comparison.result() for comparison in comparisons.values())


def compare_arrays(made: Sequence[Mapping[str, np.ndarray]], golden: Golden) -> tuple[OutputParity, ...]:
    """The same of outputs that are here already; DeviceError for one that is absent or of another shape."""
    comparisons: dict[str, OutputComparison] = {}
    for outputs, sample in zip(made, golden.samples, strict=True):
        for name, expected in sample.fp32.items():
            if name not in outputs or outputs[name].shape != expected.shape:
                raise DeviceError(
                    f"the device gave no output '{name}' of shape {expected.shape}", fix="convert again"
                )
            comparisons.setdefault(name, OutputComparison(name, golden.scores)).add(outputs[name], expected)
    return tuple(comparison.result() for comparison in comparisons.values())


def _checked(name: str) -> str:
    if _NAME.fullmatch(name) is None:
        raise DeviceError(
            f"the device names an output file {name[:80]!r}", fix="run it again on a device you trust"
        )
    return name
