"""What a bundle is made of, before it is written."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from edgekit._results import Parity
    from edgekit._values import Artifact, Device, Gap, Precision, TensorInfo
    from edgekit._verify import ForcedSequence, Gate, Golden
    from edgekit._work import Work

SamplesKind = Literal["samples", "random", "none"]


@dataclass(frozen=True)
class ComponentDraft:
    """One component: where it came from, its io, its golden data and its calibration record.

    `preprocessing` maps an input to what must happen before it (JSON values). `record` is the
    calibration record's canonical JSON, `record_digest` the name it is kept under; both None
    where nothing was calibrated. `sketches`: of its samples, as JSON (None: not kept); `inner`: the inner
    tensors among them.
    `work`: what predictions count of the float graph (None: sizes are open).
    """

    name: str
    source_sha256: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    golden: Golden
    licence: str | None = None
    preprocessing: Mapping[str, object] = field(default_factory=dict)
    record: bytes | None = None
    record_digest: str | None = None
    sketches: bytes | None = None
    inner: tuple[str, ...] = ()
    work: Work | None = None


@dataclass(frozen=True)
class BundleDraft:
    """One bundle to write.

    `built` is the folder that artifacts and extras lie in; only the files they name are taken.
    `samples` says what calibrated the scales. `documents` are further JSON or text files by name
    (scale table, decisions). `sequence` is what a decoder's steps are proven on. `tools` are versions,
    never paths. Nothing here may vary between two runs with the same inputs: no dates, host names or
    folders of this host.
    """

    device: Device
    target: str
    built: Path
    artifacts: tuple[Artifact, ...]
    components: tuple[ComponentDraft, ...]
    parities: tuple[Parity, ...]
    samples: SamplesKind
    scheme: str | None = None
    extras: tuple[str, ...] = ()
    gaps: tuple[Gap, ...] = ()
    gates: Mapping[Precision, Gate] = field(default_factory=dict)
    tools: Mapping[str, str] = field(default_factory=dict)
    documents: Mapping[str, bytes] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    sequence: ForcedSequence | None = None

    def warnings(self) -> tuple[str, ...]:
        """What a user must not overlook, loudest first."""
        told: list[str] = []
        if self.samples == "random":
            told.append("CALIBRATED ON RANDOM NUMBERS: the scales do not fit real data; for trying out only")
        if any(component.golden.kind == "random" for component in self.components):
            told.append("golden data are random numbers: they prove arithmetic, not accuracy")
        told += [
            f"{parity.component} {parity.variant}: UNPROVEN on this host: {parity.reason}"
            for parity in self.parities
            if parity.status == "unproven"
        ]
        for parity in self.parities:
            for failure in parity.gate_failures[:1]:
                more = len(parity.gate_failures) - 1
                also = f" (and {more} more)" if more else ""
                told.append(f"{parity.component} {parity.variant}: BELOW ITS GATE: {failure}{also}")
        return tuple(told)
