"""Reads the files that monitors wrote; what is damaged, hostile or of another model is refused by name."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from edgekit._bundle import check_schema, load_schema
from edgekit._monitor.device.sketch import Sketch, SketchError, read_sketch
from edgekit._strict_json import read_json
from edgekit.errors import BundleError, FieldError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from edgekit._bundle import Bundle

_MOST_BYTES = 16 << 20
_ROUNDING = 1e-5
_AGAIN = "take the file that the monitor wrote, or leave it out"


@dataclass(frozen=True)
class Field:
    """One checked file: what one monitor saw.

    inputs, outputs, inner: sketches by the source's tensor names. latency_s, energy_j: None where nothing
    was seen.
    """

    component: str
    variant: str
    device: str
    sketched: int
    inferences: int
    latency_s: Sketch | None
    energy_j: Sketch | None
    inputs: Mapping[str, Sketch]
    outputs: Mapping[str, Sketch]
    inner: Mapping[str, Sketch]
    latency_total_s: float = 0.0
    energy_total_j: float = 0.0


def list_fields(given: Sequence[Path]) -> Iterator[Path]:
    """The files themselves, and every .json of a folder; FieldError where there is none."""
    for path in given:
        if not path.is_dir():
            yield path
            continue
        found = sorted(path.glob("*.json"))
        if not found:
            raise FieldError(f"folder '{path}' holds no .json", fix="name the folder that field files lie in")
        yield from found


def read_field(path: Path, bundle: Bundle) -> Field:
    """Read and check one; FieldError names the file, the place in it and the rule."""
    data = _load(path)
    if data["bundle"] != bundle.digest:
        raise FieldError(
            f"field file '{path}' is of bundle {data['bundle'][:12]}, not of {bundle.digest[:12]}",
            fix="give the bundle that runs on that device, and only its files",
        )
    row = next((one for one in bundle.manifest["components"] if one["name"] == data["component"]), None)
    if row is None:
        raise _refusal(path, f"the bundle has no component '{data['component'][:80]}'")
    own = [one for one in bundle.artifacts if one.component == data["component"]]
    artifacts = [one for one in own if data["variant"] in ("", one.variant)]
    if not artifacts:
        known = ", ".join(one.variant for one in own)
        raise _refusal(path, f"the bundle has no variant '{data['variant'][:80]}' of it, only {known}")
    aliases = {name: source for one in artifacts for source, name in one.tensors.items()}
    try:
        return Field(
            component=data["component"],
            variant=data["variant"],
            device=data["device"],
            sketched=data["sketched"],
            inferences=sum(data["latency_s"]["counts"]),
            latency_s=_timing(data["latency_s"]),
            energy_j=_timing(data["energy_j"]),
            inputs=_sketches(data["inputs"], [one["name"] for one in row["inputs"]], aliases),
            outputs=_sketches(data["outputs"], [one["name"] for one in row["outputs"]], aliases),
            latency_total_s=data["latency_s"]["total"],
            energy_total_j=0.0 if data["energy_j"] is None else data["energy_j"]["total"],
            inner=_sketches(data.get("inner", {}), row.get("inner", ()), aliases),
        )
    except SketchError as error:
        raise _refusal(path, str(error)) from error


def _load(path: Path) -> dict[str, Any]:
    try:
        data: dict[str, Any] = read_json(path, _MOST_BYTES)
        check_schema(data, load_schema("field.schema.json"), f"field file '{path}'")
    except (OSError, ValueError) as error:
        raise _refusal(path, f"it cannot be read as JSON ({error})") from error
    except BundleError as error:
        raise FieldError(error.problem, fix=_AGAIN) from error
    return data


def _timing(row: dict[str, Any] | None) -> Sketch | None:
    if row is None:
        return None
    sketch = read_sketch(row["sketch"], seed=0)
    if sketch.count != sum(row["counts"]) or sketch.least < 0:
        raise SketchError("a latency's or energy's sketch and its counts are not of the same numbers")
    if not sketch.count:
        return None
    # The ends are kept as float32, the total is not.
    least, most = (end * sketch.count for end in (sketch.least, sketch.most))
    if not least * (1 - _ROUNDING) <= row["total"] <= most * (1 + _ROUNDING):
        raise SketchError("a latency's or energy's total is not the sum of numbers between its ends")
    return sketch


def _sketches(rows: Mapping[str, Any], known: Sequence[str], aliases: Mapping[str, str]) -> dict[str, Sketch]:
    found: dict[str, Sketch] = {}
    for name, row in rows.items():
        tensor = name if name in known else aliases.get(name, name)
        if tensor not in known or tensor in found:
            near = get_close_matches(name, known, n=1)
            hint = f"near '{near[0]}'" if near else f"it has {', '.join(known) or 'none'}"
            raise SketchError(f"tensor '{name[:80]}' is none of the model's there, or stands twice: {hint}")
        found[tensor] = read_sketch(row, seed=0)
    return found


def _refusal(path: Path, rule: str) -> FieldError:
    return FieldError(f"field file '{path}': {rule}", fix=_AGAIN)
