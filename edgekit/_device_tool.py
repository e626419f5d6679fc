"""The contract of a native benchmark tool: a program that runs and times one artifact where no Python is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np

from edgekit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from edgekit._values import Placement

    Port = tuple[str, str, list[int]]  # name, dtype, shape


def take_inputs(feeds: Mapping[str, np.ndarray], ports: Sequence[Port]) -> list[np.ndarray]:
    """Golden inputs in the order of a file's; UsageError for another dtype or shape than the file takes."""
    found = []
    for name, dtype, shape in ports:
        value = np.ascontiguousarray(feeds[name])
        if value.dtype.name != dtype or list(value.shape) != shape:
            given = f"{value.dtype.name}{list(value.shape)}"
            raise UsageError(
                f"golden input '{name}' is {given}, the file takes {dtype}{shape}",
                fix="convert the bundle again",
            )
        found.append(value)
    return found


@dataclass(frozen=True)
class LayerTime:
    """Mean or median time of one layer (node of the artifact as its runtime names it), in microseconds."""

    name: str
    op: str
    us: float


@dataclass(frozen=True)
class ToolCall:
    """One call: which files on the device, how long. `output` and `layers` name files to write, "" for none.

    Files are named relative to `folder`, in which the tool is started; it and its libraries lie in `tools`.
    The tool runs until it has done `runs` and `seconds`, at most `most_seconds`.
    """

    model: str
    inputs: tuple[str, ...]
    threads: int
    runs: int
    seconds: float = 0.0
    most_seconds: float = 600.0
    warm_up: int = 0
    output: str = ""
    layers: str = ""
    folder: str = ""
    tools: str = ""


@dataclass(frozen=True)
class ToolTimes:
    """What one call told. ms: mean, p50, p90, p95, p99, min, max, std of the timed runs, as far as told."""

    count: int
    ms: Mapping[str, float]
    load_ms: float | None = None
    first_ms: float | None = None
    warm_up_ms: float | None = None
    warm_up_count: int = 0
    peak_bytes: float | None = None
    placements: tuple[Placement, ...] = field(default=())


class DeviceTool(Protocol):
    """One artifact in one tool. DeviceError where the tool failed or printed what it never prints.

    A tool derives from this class: what it does not override holds for it.
    """

    #: As its makers call it; and where a user gets it; and what it leaves open.
    name: str
    needs: str
    tells: str
    #: How often it warms up, whatever it is told; None: as often as it is told.
    warm_ups: int | None = None
    #: Whether it saves what it computed; where it does not, nothing is compared with fp32.
    saves_outputs: bool = True
    #: Why it tells no times by operator; "" where it does.
    no_layers: str = ""
    #: What `uname -m` says where its times count; () for any machine. And why they do not count elsewhere.
    machines: tuple[str, ...] = ()
    elsewhere: str = ""

    def describe(self) -> str:
        """What ran it, for the basis of each figure."""
        ...

    def libraries(self, tool: Path) -> list[Path]:
        """Files beside the tool's own that go with it. UsageError for one that is missing."""
        del tool
        return []

    def environment(self, tools: str) -> dict[str, str]:
        """Environment variables of its calls; it and its libraries lie in the absolute folder `tools`."""
        del tools
        return {}

    def input_file(self, model: str, number: int, place: int) -> str:
        """Where it reads input `place` of golden sample `number`, for the artifact at `model`."""
        return f"{model}.input-{number}-{place}"

    def encode(self, feeds: Mapping[str, np.ndarray]) -> list[bytes]:
        """One golden sample as the files that the tool reads, in the order of the artifact's inputs."""
        ...

    def command(self, call: ToolCall) -> tuple[str, ...]:
        """The words behind the program's path."""
        ...

    def read(self, printed: str) -> ToolTimes:
        """What a call that ended well printed."""
        ...

    @property
    def output_bytes(self) -> int:
        """How large the file of outputs is."""
        return 0

    def decode(self, data: bytes) -> dict[str, np.ndarray]:
        """That file's outputs by name, in the artifact's own layout."""
        del data
        return {}

    def layers(self, text: str, call: ToolCall) -> tuple[LayerTime, ...]:
        """Mean times by operator from the profile that the call wrote."""
        ...

    def place(self, layers: tuple[LayerTime, ...]) -> tuple[Placement, ...]:
        """Where operators run, as far as the profile says it and the calls before did not."""
        del layers
        return ()
