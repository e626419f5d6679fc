"""The frozen values that stages hand to each other; no toolchain and no numpy is imported here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import onnx_ir as ir

Precision = Literal["fp32", "fp16", "int8", "w8", "w4"]
WeightBits = Literal[4, 8]
BiasForm = Literal["float", "int32"]
ConvOutput = Literal["int8", "float"]
GemmOutput = Literal["float", "int8", "all"]
Activation = Literal["int8", "uint8", "int16", "uint16"]
Kind = Literal["measured", "predicted", "unknown"]

# The folder of a bundle's weights that several ONNX files point to.
SHARED_WEIGHTS = "weights/"
# Precisions with integer weights beside float activations, and the bits of those weights.
WEIGHT_BITS: dict[str, WeightBits] = {"w8": 8, "w4": 4}

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
class Scheme:
    """How numbers become integers: the activation and weight forms of one Q/DQ graph.

    `portable`: int8 symmetric activations, zero-point 0, scales that fp16 holds exactly.
    `native-u8`: uint8 asymmetric activations, uint8 weights around 128 (ONNX Runtime).
    `native-u8-s8`, `native-u16-s8`: uint8 or uint16 asymmetric activations, int8 weights (Hexagon).
    `native-u8-s4`, `native-u16-s4`: int4 weights where they are many, the others int8 (Hexagon).
    `int16x8`: int16 symmetric activations, int8 weights (LiteRT); of single nodes only.
    """

    name: str
    activation: Activation
    symmetric: bool
    weight: Literal["int4", "int8", "uint8"]
    fp16_scales: bool

    @property
    def is_wide(self) -> bool:
        """Whether its activations have 16 bits."""
        return self.activation in ("int16", "uint16")


PORTABLE = Scheme("portable", "int8", True, "int8", True)
NATIVE_U8 = Scheme("native-u8", "uint8", False, "uint8", False)
NATIVE_U8_S8 = Scheme("native-u8-s8", "uint8", False, "int8", False)
NATIVE_U16_S8 = Scheme("native-u16-s8", "uint16", False, "int8", False)
NATIVE_U8_S4 = Scheme("native-u8-s4", "uint8", False, "int4", False)
NATIVE_U16_S4 = Scheme("native-u16-s4", "uint16", False, "int4", False)
INT16X8 = Scheme("int16x8", "int16", True, "int8", False)
SCHEMES = {
    scheme.name: scheme
    for scheme in (PORTABLE, NATIVE_U8, NATIVE_U8_S8, NATIVE_U16_S8, NATIVE_U8_S4, NATIVE_U16_S4)
}


@dataclass(frozen=True)
class WeightForm:
    """One way in which a target holds an op's constant weights as symmetric integers beside float data.

    blocks: how many weights along the summed axis may share a scale; empty: one scale a channel only.
    """

    op: str
    bits: WeightBits
    blocks: tuple[int, ...] = ()


@dataclass(frozen=True)
class QuantParams:
    """real = (q - zero_point) * scale, for one tensor."""

    scale: float
    zero_point: int
    dtype: Activation


@dataclass(frozen=True)
class Scales:
    """Activation quantization of one component under one scheme, from one calibration record."""

    scheme: str
    record_digest: str
    tensors: Mapping[str, QuantParams]


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
class Artifact:
    """One built file (with its companions), paths relative to the folder it was built in.

    `main` is the file (or folder, as a .mlpackage) a runtime loads; `files` are all files of it.
    `tensors` maps source tensor names to the artifact's own (absent: the same name, or no such tensor).
    `layouts` names the layout of inputs and outputs that the artifact holds in another one ("NHWC").
    `macs` is counted in the artifact itself; `runtime` says what loads it.
    `proves` says in words what running it on this host does and does not show.
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


@dataclass(frozen=True)
class Measurement:
    """One figure with where it comes from; `interval` is the 80 % one for predictions."""

    metric: str
    value: float | None
    unit: str
    kind: Kind
    basis: str
    interval: tuple[float, float] | None = None


def loss_between(before: float, now: float) -> float:
    """before - now, to the digits that shares of counts have: 1 - 0.995 is 0.005 and keeps such a limit."""
    return round(before - now, 12)


@dataclass(frozen=True)
class OutputParity:
    """How one output compares with a reference over all compared samples.

    sqnr_db: 10 log10(signal/noise), inf when equal. cosine: of the flattened outputs, -1..1.
    max_abs: largest absolute difference. top1: share of rows (last axis) whose argmax agrees;
    None where the last axis has fewer than two entries.
    """

    output: str
    sqnr_db: float
    cosine: float
    max_abs: float
    top1: float | None

    @property
    def top1_loss(self) -> float | None:
        """The share of rows whose argmax does not agree."""
        return None if self.top1 is None else loss_between(1.0, self.top1)


@dataclass(frozen=True)
class TaskScore:
    """A task metric of one artifact beside fp32's on the same samples; `drop` > 0 is worse."""

    metric: str
    fp32: float
    artifact: float
    samples: int
    better: Literal["higher", "lower"] = "higher"

    @property
    def drop(self) -> float:
        """How much worse the artifact is, in the metric's own unit."""
        change = loss_between(self.fp32, self.artifact)
        return change if self.better == "higher" else -change


@dataclass(frozen=True)
class Parity:
    """The proof of one artifact: two runs of one loaded session on the golden samples.

    `status` is `proven` or `unproven` (it cannot run on this host; `reason` says why).
    `against_fp32` and `against_reference` (the Q/DQ graph in plain float) are per output.
    """

    component: str
    variant: Precision
    status: Literal["proven", "unproven"]
    reason: str
    samples: int
    runs_equal: bool
    against_fp32: tuple[OutputParity, ...] = ()
    against_reference: tuple[OutputParity, ...] = ()
    macs: MacShare | None = None
    gate_failures: tuple[str, ...] = ()
    worst_tensors: tuple[tuple[str, float], ...] = ()
    task: TaskScore | None = None

    @property
    def passed(self) -> bool:
        return self.runs_equal and not self.gate_failures

    @property
    def failed(self) -> bool:
        """It ran and fell short; an artifact that could not run here has neither passed nor failed."""
        return bool(self.gate_failures) or (self.status == "proven" and not self.runs_equal)


@dataclass(frozen=True)
class Verdict:
    """One line of a budget: does this device keep it? `unknown` where nobody has a figure yet."""

    metric: str
    limit: float
    unit: str
    status: Literal["fits", "does not fit", "unknown"]
    figure: Measurement


@dataclass(frozen=True)
class Offer:
    """The variant of a component that is offered as the best, and what speaks against its INT8."""

    component: str
    variant: Precision
    reasons: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """One line for a user; "" where nothing is to be said."""
        if not self.reasons:
            return ""
        against = "; ".join(self.reasons)
        if self.variant == "int8":
            return f"{self.component}: INT8 is no good and nothing better is in the bundle: {against}"
        return f"{self.component}: {self.variant} is offered, INT8 is not: {against}"


@dataclass(frozen=True)
class BundleResult:
    """One sealed bundle: what the user asked for, what it became, where it lies and its proof.

    `figures`: what the host knows of it, measured (its size) or foretold by the toolchain.
    """

    requested: str
    device: Device
    folder: Path
    digest: str
    artifacts: tuple[Artifact, ...]
    parities: tuple[Parity, ...]
    gaps: tuple[Gap, ...]
    verdicts: tuple[Verdict, ...]
    notes: tuple[str, ...]
    figures: tuple[Measurement, ...] = ()
    offers: tuple[Offer, ...] = ()

    @property
    def passed(self) -> bool:
        """No artifact failed and no limit is broken; what can't run on this host is unproven, not failed."""
        return not any(parity.failed for parity in self.parities) and not any(
            verdict.status == "does not fit" for verdict in self.verdicts
        )


@dataclass(frozen=True)
class ConvertResult:
    """All bundles of one convert, and the lines a user should read (presets taken, aliases resolved)."""

    bundles: tuple[BundleResult, ...]
    notes: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return all(bundle.passed for bundle in self.bundles)
