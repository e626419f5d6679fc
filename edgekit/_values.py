"""The frozen values that stages hand to each other; no toolchain and no numpy is imported here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import onnx_ir as ir

Precision = Literal["fp32", "fp16", "int8", "w8", "w4"]
RoundingChoice = Literal["nearest", "adaround"]

# The folder of a bundle's weights that several ONNX files point to.
SHARED_WEIGHTS = "weights/"

if TYPE_CHECKING:
    # Called as progress(stage, done, total); total None means "not known yet", total 0 a line to read.
    Progress = Callable[[str, int, int | None], None]


@dataclass(frozen=True)
class DimRange:
    """One dimension as the user gave it: `low == high` is a fixed size, else a range."""

    low: int
    high: int

    @property
    def is_fixed(self) -> bool:
        return self.low == self.high

    def __str__(self) -> str:
        return str(self.low) if self.is_fixed else f"{self.low}..{self.high}"


if TYPE_CHECKING:
    # Input name -> its dims, as `--shape NAME=1..8,3,48,320` gave them.
    ShapeSpec = Mapping[str, tuple[DimRange, ...]]


@dataclass(frozen=True)
class TensorInfo:
    """A graph input or output: numpy dtype name, shape (int fixed, str symbolic, None unknown), layout."""

    name: str
    dtype: str
    shape: tuple[int | str | None, ...]
    layout: str | None = None


@dataclass(frozen=True)
class Component:
    """One part of a source model (a plain ONNX file has one, called `model`).

    `digest` is the sha256 of the source's bytes (graph and external data).
    """

    name: str
    model: ir.Model
    digest: str
    source: Path | None = None


@dataclass(frozen=True)
class Gap:
    """Something a target cannot hold: node, the rule it breaks and the way out.

    severity `error` stops the build; `warning` is told and carried in the manifest.
    """

    target: str
    component: str
    node: str
    op: str
    rule: str
    way_out: str
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        place = f"{self.op} '{self.node}'" if self.node else self.op
        return f"{place}: {self.rule}; {self.way_out}"


# A share that is 0.0 % in print tells a reader nothing.
_SHOWN = 0.0005


@dataclass(frozen=True)
class MacShare:
    """Multiply-accumulates of one artifact, and those of two 8-bit operands in it.

    weight_int8 and weight_int4 count those on float data whose weights alone are integers: that is no
    int8 arithmetic, and never part of `share`. Nor are int16, of 16-bit data with 8- or 16-bit operands, and
    int8x4 and int16x4, of 8- and 16-bit data with 4-bit weights.
    """

    int8: int
    total: int
    weight_int8: int = 0
    weight_int4: int = 0
    int16: int = 0
    int8x4: int = 0
    int16x4: int = 0

    @property
    def share(self) -> float:
        """Fraction in int8, 0..1; a model without MACs has 0."""
        return self.int8 / self.total if self.total else 0.0

    def other_words(self) -> list[str]:
        """Shares of the MACs with integers that are not int8, in words; none below 0.05 %."""
        counts = {
            "int8 weights only": self.weight_int8,
            "int4 weights only": self.weight_int4,
            "int8x4 (4-bit weights)": self.int8x4,
            "int16x8 (16-bit data)": self.int16,
            "int16x4 (16-bit data, 4-bit weights)": self.int16x4,
        }
        shares = {name: count / self.total for name, count in counts.items() if count}
        return [f"{name}: {100 * share:.1f} %" for name, share in shares.items() if share >= _SHOWN]


@dataclass(frozen=True)
class Placement:
    """How many operators run on one unit (CPU, GPU, NPU); ops None: not told.

    why: who says so (a compiler that placed them, the runtime on a device), or why they are not elsewhere.
    fallback: they should be on the accelerator, and its compiler left them.
    """

    unit: str
    ops: int | None
    why: str
    fallback: bool = False


@dataclass(frozen=True)
class Artifact:
    """One built file (with its companions), paths relative to the folder it was built in.

    `main` is the file (or folder, as a .mlpackage) a runtime loads; `files` are all files of it.
    `tensors` maps source tensor names to the artifact's own (absent: the same name, or no such tensor).
    `layouts` names the layout of inputs and outputs that the artifact holds in another one ("NHWC").
    `macs` is counted in the artifact itself; `runtime` says what loads it.
    `proves` says in words what running it on this host does and does not show. `placements`: where its
    compiler put the operators; () where that shows on the device only.
    """

    component: str
    variant: Precision
    main: str
    files: tuple[str, ...]
    runtime: str
    macs: MacShare | None = None
    tensors: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    proves: str = ""
    layouts: Mapping[str, str] = field(default_factory=dict)
    placements: tuple[Placement, ...] = ()

    @property
    def loaded(self) -> tuple[str, ...]:
        """What a runtime reads: the main file with its external data or weights, or all of a main folder."""
        own = (self.main, f"{self.main}.data", f"{self.main.removesuffix('.xml')}.bin")
        folders = (f"{self.main}/", SHARED_WEIGHTS)
        return tuple(name for name in self.files if name in own or name.startswith(folders))


@dataclass(frozen=True)
class Figure:
    """One cited number of a device: never without source and confidence."""

    value: float
    unit: str
    source: str
    confidence: str


@dataclass(frozen=True)
class Device:
    """One device as its TOML describes it.

    `versions` maps a software name (`jetpack-6.2`) to its tools (`tensorrt` -> `10.3`);
    `software` is the one in use. `power_modes`: name -> limit in W.
    """

    name: str
    title: str
    toolchain: str
    software: str
    versions: Mapping[str, Mapping[str, str]]
    aliases: tuple[str, ...] = ()
    figures: Mapping[str, Figure] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    power_modes: Mapping[str, Figure] = field(default_factory=dict)

    @property
    def same_hardware(self) -> tuple[str, ...]:
        """Devices whose measurements hold here, the closest first: itself, its board's, its chip's."""
        facts = (self.facts.get(name) for name in ("board_of", "same_chip"))
        return (self.name, *(name for name in facts if name))
