"""manifest.json: the draft as canonical JSON with its seal, and back to values."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from edgekit._bundle.names import MANIFEST, check_component
from edgekit._bundle.schema import check_schema, load_schema
from edgekit._strict_json import parse_json
from edgekit._values import Artifact, MacShare, Placement
from edgekit.errors import BundleError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgekit._bundle.draft import BundleDraft, ComponentDraft
    from edgekit._results import OutputParity, Parity, TaskScore
    from edgekit._values import Gap, TensorInfo
    from edgekit._verify import ForcedSequence

SCHEMA = "edgekit.bundle"
VERSION = 1

Json = dict[str, Any]
# The arrays that a decoder's steps are proven on, as ForcedSequence names them; greedy ones may be missing.
SEQUENCE = ("tokens", "logits", "greedy_tokens", "greedy_logits")
# MACs that are not int8 arithmetic; a count of none is left out of the manifest.
_OTHER_MACS = ("weight_int8", "weight_int4", "int16", "int8x4", "int16x4")


def render_manifest(draft: BundleDraft, files: Mapping[str, Json], golden: Mapping[str, Json]) -> bytes:
    """The canonical manifest of a draft; `files` are its other files, `golden` their use by component."""
    manifest: Json = {
        "schema": SCHEMA,
        "version": VERSION,
        "target": draft.target,
        "device": {
            "name": draft.device.name,
            "title": draft.device.title,
            "software": draft.device.software,
            "tools": dict(draft.device.versions.get(draft.device.software, {})),
        },
        "scheme": draft.scheme,
        "samples": draft.samples,
        "warnings": list(draft.warnings()),
        "notes": list(draft.notes),
        "components": [_component(component, golden[component.name]) for component in draft.components],
        "artifacts": [_artifact(artifact) for artifact in draft.artifacts],
        "parity": [parity_json(parity) for parity in draft.parities],
        "gates": {name: _numbers(asdict(gate)) for name, gate in draft.gates.items()},
        "gaps": [_gap(gap) for gap in draft.gaps],
        "tools": dict(draft.tools),
        "documents": sorted(draft.documents),
        "files": dict(files),
    }
    if draft.sequence is not None:
        manifest["sequence"] = _sequence(draft.sequence)
    manifest["seal"] = _seal(manifest)
    check_schema(manifest, load_schema("manifest.schema.json"), MANIFEST)
    return _canonical(manifest)


def parse_manifest(data: bytes) -> Json:
    """The checked manifest; BundleError for JSON that is damaged, unknown, not canonical or unsealed."""
    try:
        manifest = parse_json(data.decode("ascii"))
    except ValueError as error:
        raise _damaged(f"it is no JSON that edgekit writes ({type(error).__name__})") from error
    if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
        raise _damaged("it is no edgekit manifest")
    if manifest.get("version") != VERSION:
        raise BundleError(
            f"{MANIFEST}: version {str(manifest.get('version'))[:20]} is not {VERSION}",
            fix="verify it with the edgekit that wrote it (`tools` names the version)",
        )
    check_schema(manifest, load_schema("manifest.schema.json"), MANIFEST)
    if manifest["seal"] != _seal(manifest) or data != _canonical(manifest):
        raise _damaged("its seal does not match: it was changed after it was written")
    return manifest


def bundle_digest(manifest: bytes) -> str:
    """The digest of a bundle: sha256 of the manifest's bytes, which hold those of every other file."""
    return hashlib.sha256(manifest).hexdigest()


def artifact_value(row: Json) -> Artifact:
    """An artifact row back to the value."""
    return Artifact(
        component=row["component"],
        variant=row["variant"],
        main=row["main"],
        files=tuple(row["files"]),
        runtime=row["runtime"],
        macs=macs_value(row["macs"]),
        tensors=dict(row["tensors"]),
        notes=tuple(row["notes"]),
        proves=row["proves"],
        layouts=dict(row.get("layouts", {})),
        placements=tuple(Placement(**one) for one in row.get("placements", ())),
    )


def parity_json(parity: Parity) -> Json:
    """A parity as JSON; infinities and NaN are the strings inf, -inf and nan."""
    return {
        "component": parity.component,
        "variant": parity.variant,
        "status": parity.status,
        "reason": parity.reason,
        "samples": parity.samples,
        "runs_equal": parity.runs_equal,
        "passed": parity.passed,
        "against_fp32": [_output(output) for output in parity.against_fp32],
        "against_reference": [_output(output) for output in parity.against_reference],
        "macs": _macs(parity.macs),
        "gate_failures": list(parity.gate_failures),
        "worst_tensors": [{"tensor": name, "sqnr_db": _number(sqnr)} for name, sqnr in parity.worst_tensors],
        "task": _task(parity.task),
    }


def _component(component: ComponentDraft, golden: Json) -> Json:
    name = check_component(component.name)
    calibrated = component.record is not None
    row: Json = {
        "name": name,
        "source_sha256": component.source_sha256,
        "licence": component.licence,
        "inputs": [_tensor(tensor) for tensor in component.inputs],
        "outputs": [_tensor(tensor) for tensor in component.outputs],
        "preprocessing": dict(component.preprocessing),
        "calibration": {"file": record_name(name), "digest": component.record_digest or ""}
        if calibrated
        else None,
        "golden": golden,
    }
    if component.sketches is not None:
        row["sketches"] = sketches_name(name)
        if component.inner:
            row["inner"] = list(component.inner)
    if component.work is not None:
        terms = {term: float(f"{value:.6g}") for term, value in component.work.terms.items()}
        row["work"] = asdict(component.work) | {"terms": terms}
    return row


def sequence_names(sequence: ForcedSequence) -> dict[str, str]:
    """Where the tokens and the fp32 logits lie that a decoder's steps are proven on."""
    folder = f"golden/{check_component(sequence.decode)}/sequence"
    return {name: f"{folder}/{name}.npy" for name in SEQUENCE if getattr(sequence, name) is not None}


def _sequence(sequence: ForcedSequence) -> Json:
    named = {"decode": sequence.decode, "prefill": sequence.prefill, "prompt": sequence.prompt}
    return named | sequence_names(sequence)


def record_name(component: str) -> str:
    """Where a component's calibration record lies."""
    return f"calibration/{component}.json"


def sketches_name(component: str) -> str:
    """Where the sketches of what it was calibrated on lie."""
    return f"calibration/{component}.sketches.json"


def _tensor(tensor: TensorInfo) -> Json:
    return {"name": tensor.name, "dtype": tensor.dtype, "shape": list(tensor.shape), "layout": tensor.layout}


def _artifact(artifact: Artifact) -> Json:
    row: Json = {
        "component": artifact.component,
        "variant": artifact.variant,
        "main": artifact.main,
        "files": list(artifact.files),
        "runtime": artifact.runtime,
        "macs": _macs(artifact.macs),
        "tensors": dict(artifact.tensors),
        "notes": list(artifact.notes),
        "proves": artifact.proves,
    }
    if artifact.layouts:
        row["layouts"] = dict(artifact.layouts)
    if artifact.placements:
        row["placements"] = [asdict(one) for one in artifact.placements]
    return row


def _gap(gap: Gap) -> Json:
    row = asdict(gap)
    del row["target"]  # one bundle has one target, named once
    return row


def macs_value(row: Json | None) -> MacShare | None:
    """A row of counted MACs back to the value."""
    if row is None:
        return None
    others = {name: row.get(name, 0) for name in _OTHER_MACS}
    return MacShare(row["int8"], row["total"], **others)


def _macs(macs: MacShare | None) -> Json | None:
    if macs is None:
        return None
    others = {name: getattr(macs, name) for name in _OTHER_MACS}
    counted = {"int8": macs.int8, "total": macs.total, "share": macs.share}
    return counted | {name: count for name, count in others.items() if count}


def _output(parity: OutputParity) -> Json:
    return {"output": parity.output} | _numbers(
        {
            "sqnr_db": parity.sqnr_db,
            "cosine": parity.cosine,
            "max_abs": parity.max_abs,
            "top1": parity.top1,
        }
    )


def _task(task: TaskScore | None) -> Json | None:
    if task is None:
        return None
    return asdict(task) | {"fp32": _number(task.fp32), "artifact": _number(task.artifact)}


def _numbers(row: Mapping[str, float | None]) -> Json:
    return {name: None if value is None else _number(value) for name, value in row.items()}


def _number(value: float) -> float | str:
    return float(value) if math.isfinite(value) else str(float(value))


def _canonical(manifest: Json) -> bytes:
    # ASCII, sorted keys, the shortest float that reads back: one spelling for one content.
    text = json.dumps(manifest, sort_keys=True, indent=1, ensure_ascii=True, allow_nan=False)
    return f"{text}\n".encode("ascii")


def _seal(manifest: Json) -> str:
    body = {name: value for name, value in manifest.items() if name != "seal"}
    return hashlib.sha256(_canonical(body)).hexdigest()


def _damaged(rule: str) -> BundleError:
    return BundleError(f"{MANIFEST}: {rule}", fix="take an unchanged copy of the bundle, or convert again")
