"""Reads the files that monitors wrote; what is damaged, hostile or of another model is refused by name."""

from __future__ import annotations

import json
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, NoReturn

from edgekit._bundle import check_schema, load_schema
from edgekit._field.device.sketch import Sketch, SketchError, read_sketch
from edgekit.errors import BundleError, FieldError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from edgekit._bundle import Bundle

_MOST_BYTES = 16 << 20
_AGAIN = "take the file that the monitor wrote, or leave it out"


@dataclass(frozen=True)
class Field:
    """One checked file: what one monitor saw between its start and `ended` (Unix seconds).

    inputs, outputs: sketches by the source's tensor names. latency_s, energy_j: None where nothing was seen.
    """

    component: str
    variant: str
    device: str
    ended: float
    sketched: int
    inferences: int
    latency_s: Sketch | None
    energy_j: Sketch | None
    inputs: Mapping[str, Sketch]
    outputs: Mapping[str, Sketch]


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
    aliases = _aliases(data, bundle)
    try:
        return Field(
            component=data["component"],
            variant=data["variant"],
            device=data["device"],
            ended=data["ended"],
            sketched=data["sketched"],
            inferences=sum(data["latency_s"]["counts"]),
            latency_s=_timing(data["latency_s"]),
            energy_j=_timing(data["energy_j"]),
            inputs=_sketches(data["inputs"], [one["name"] for one in row["inputs"]], aliases),
            outputs=_sketches(data["outputs"], [one["name"] for one in row["outputs"]], aliases),
        )
    except SketchError as error:
        raise _refusal(path, str(error)) from error


def _load(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise _refusal(path, f"it is larger than {_MOST_BYTES >> 20} MiB")
        text = path.read_bytes().decode("utf-8")
        data = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except (OSError, ValueError, RecursionError) as error:
        raise _refusal(path, f"it cannot be read as JSON ({error})") from error
    try:
        check_schema(data, load_schema("field.schema.json"))
    except BundleError as error:
        raise _refusal(path, error.problem.removeprefix("manifest.json ")) from error
    checked: dict[str, Any] = data
    return checked


def _timing(row: dict[str, Any] | None) -> Sketch | None:
    if row is None or not sum(row["counts"]):
        return None
    sketch = read_sketch(row["sketch"], seed=0)
    if sketch.count != sum(row["counts"]) or sketch.least < 0:
        raise SketchError("a latency's or energy's sketch and its counts are not of the same numbers")
    return sketch


def _sketches(rows: Mapping[str, Any], known: Sequence[str], aliases: Mapping[str, str]) -> dict[str, Sketch]:
    found: dict[str, Sketch] = {}
    for name, row in rows.items():
        tensor = name if name in known else aliases.get(name, name)
        if tensor not in known or tensor in found:
            near = get_close_matches(name, known, n=1)
            hint = f"near '{near[0]}'" if near else f"it has {', '.join(known)}"
            raise SketchError(f"tensor '{name[:80]}' is none of the model's there, or stands twice: {hint}")
        found[tensor] = read_sketch(row, seed=0)
    return found


def _aliases(data: Mapping[str, Any], bundle: Bundle) -> dict[str, str]:
    """The source's name of each tensor that the device's artifact calls otherwise."""
    return {
        own: source
        for artifact in bundle.artifacts
        if artifact.component == data["component"] and data["variant"] in ("", artifact.variant)
        for source, own in artifact.tensors.items()
    }


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) != len(pairs):
        raise ValueError("a key stands twice")
    return row


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _refusal(path: Path, rule: str) -> FieldError:
    return FieldError(f"field file '{path}': {rule}", fix=_AGAIN)
