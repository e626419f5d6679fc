"""The gate: what an artifact's parity must reach, loaded from gate.toml and changed by `--min-...`."""

from __future__ import annotations

import math
import tomllib
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from importlib.resources import files
from typing import TYPE_CHECKING, cast, get_args

from edgekit._values import Precision
from edgekit.errors import EdgekitError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from edgekit._results import OutputParity, TaskScore


@dataclass(frozen=True)
class Gate:
    """Limits for every output of one variant; None: not limited.

    `min_sqnr_db`, `min_top1` (0..1), `min_cosine` (-1..1) and `max_abs` are against fp32.
    An INT8 artifact may lie `max_lowering_loss_db` further from fp32 than its own Q/DQ graph in plain
    float does, or must be within `min_reference_sqnr_db` of that graph, or within `lowered_sqnr_db` of
    fp32, where a loss to the graph takes nothing that matters. With a task metric,
    `max_task_drop` (absolute, in the metric's unit) stands in for the limits against fp32.
    """

    min_sqnr_db: float | None = None
    min_top1: float | None = None
    min_cosine: float | None = None
    max_abs: float | None = None
    min_reference_sqnr_db: float | None = None
    max_lowering_loss_db: float | None = None
    lowered_sqnr_db: float | None = None
    max_task_drop: float | None = None

    def changed(self, limits: Mapping[str, float | None]) -> Gate:
        """This gate with the limits a user gave; UsageError for an unknown limit or a NaN."""
        for name, value in limits.items():
            _check_limit_name(name, UsageError)
            if value is not None and math.isnan(value):
                raise UsageError(f"gate limit '{name}' is not a number", fix="give a number")
        return replace(self, **limits)


LIMITS = tuple(field.name for field in fields(Gate))


def _check_limit_name(name: str, error: type[EdgekitError]) -> None:
    if name not in LIMITS:
        close = get_close_matches(name, LIMITS, n=1)
        near = f"did you mean '{close[0]}'?" if close else f"limits are {', '.join(LIMITS)}"
        raise error(f"unknown gate limit '{name}'", fix=near)


def load_gates(text: str | None = None) -> dict[Precision, Gate]:
    """The gate of each variant from TOML text (default: the package's gate.toml).

    EdgekitError for an unknown variant or limit, a limit without a reason, or a value that is no number.
    """
    if text is None:
        text = files("edgekit").joinpath("gate.toml").read_text(encoding="utf-8")
    table = tomllib.loads(text)
    if table.pop("schema", None) != 1:
        raise EdgekitError("gate file: schema is not 1", fix="write `schema = 1` at the top")
    return {_variant(name): Gate(**_read_limits(name, limits)) for name, limits in table.items()}


def _variant(name: str) -> Precision:
    if name not in get_args(Precision):
        known = ", ".join(get_args(Precision))
        raise EdgekitError(f"gate file: unknown variant '{name}'", fix=f"variants are {known}")
    return cast("Precision", name)


def _read_limits(variant: str, limits: object) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, entry in cast("Mapping[str, object]", limits).items():
        _check_limit_name(name, EdgekitError)
        row = entry if isinstance(entry, dict) else {}
        value, reason = row.get("value"), row.get("reason")
        if set(row) != {"value", "reason"} or not isinstance(value, float) or not reason:
            raise EdgekitError(
                f"gate file: [{variant}.{name}] needs exactly a float `value` and a `reason`",
                fix="write both; a limit without its reason can't be judged",
            )
        found[name] = value
    return found


def gate_for(variant: Precision, limits: Mapping[str, float | None] | None = None) -> Gate:
    """The default gate of a variant, with the user's limits on top."""
    return load_gates()[variant].changed(limits or {})


def check_fp32(outputs: Iterable[OutputParity], gate: Gate, task: TaskScore | None) -> list[str]:
    """One line for each limit against fp32 that is missed; NaN, Inf and empty outputs always miss."""
    failures: list[str] = []
    for parity in outputs:
        failures += _check_numbers(parity, "fp32")
        if task is None:
            failures += _check_output(parity, gate)
    if task is not None:
        failures += _check_task(task, gate)
    return failures


@dataclass(frozen=True)
class Lowering:
    """One output, three ways: artifact against fp32 and against the reference, reference against fp32."""

    fp32: OutputParity
    reference: OutputParity
    intended: OutputParity

    @property
    def loss_db(self) -> float:
        """How much further from fp32 the runtime's kernels are than the graph they were given; dB."""
        if self.fp32.sqnr_db == self.intended.sqnr_db:
            return 0.0  # also where both are infinite
        return self.intended.sqnr_db - self.fp32.sqnr_db


def check_reference(lowerings: Iterable[Lowering], gate: Gate) -> list[str]:
    """One line for each output where the runtime itself, not quantization, takes too much."""
    failures: list[str] = []
    for lowering in lowerings:
        found = lowering.reference
        failures += _check_numbers(found, "the Q/DQ reference")
        if math.isnan(found.sqnr_db) or math.isinf(found.max_abs):
            continue
        near = gate.min_reference_sqnr_db is None or found.sqnr_db >= gate.min_reference_sqnr_db
        near |= gate.lowered_sqnr_db is not None and lowering.fp32.sqnr_db >= gate.lowered_sqnr_db
        allowed = -math.inf if gate.max_lowering_loss_db is None else gate.max_lowering_loss_db
        if not near and not lowering.loss_db <= allowed:
            failures.append(
                f"output '{found.output}': SQNR {found.sqnr_db:.1f} dB against the Q/DQ reference, below"
                f" {gate.min_reference_sqnr_db:g} dB, and {lowering.loss_db:.1f} dB further from fp32 than it"
            )
    return failures


def _check_numbers(parity: OutputParity, against: str) -> list[str]:
    if math.isnan(parity.sqnr_db):
        return [f"output '{parity.output}': empty on every sample, so nothing was compared with {against}"]
    if math.isinf(parity.max_abs):
        return [f"output '{parity.output}': NaN or Inf where {against} has another value"]
    return []


def _check_output(parity: OutputParity, gate: Gate) -> list[str]:
    if math.isnan(parity.sqnr_db) or math.isinf(parity.max_abs):
        return []  # told by _check_numbers
    failures: list[str] = []
    if gate.min_sqnr_db is not None and parity.sqnr_db < gate.min_sqnr_db:
        failures.append(f"SQNR {parity.sqnr_db:.1f} dB against fp32, below {gate.min_sqnr_db:g} dB")
    if gate.min_top1 is not None and parity.top1 is not None and parity.top1 < gate.min_top1:
        failures.append(f"top-1 agreement {parity.top1:.3f} with fp32, below {gate.min_top1:g}")
    if gate.min_cosine is not None and parity.cosine < gate.min_cosine:
        failures.append(f"cosine {parity.cosine:.4f} with fp32, below {gate.min_cosine:g}")
    if gate.max_abs is not None and parity.max_abs > gate.max_abs:
        failures.append(f"largest difference {parity.max_abs:g} from fp32, above {gate.max_abs:g}")
    return [f"output '{parity.output}': {line}" for line in failures]


def _check_task(task: TaskScore, gate: Gate) -> list[str]:
    told = f"{task.metric}: fp32 {task.fp32:.4f}, artifact {task.artifact:.4f} on {task.samples} samples"
    if math.isnan(task.drop):
        return [f"{told}: not a number"]
    if gate.max_task_drop is not None and task.drop > gate.max_task_drop:
        return [f"{told}: drop {task.drop:.4f}, above {gate.max_task_drop:g}"]
    return []
