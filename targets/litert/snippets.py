"""The Kotlin class of a bundle, from the artifact's real inputs and outputs; it is not compiled here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.targets.litert.session import LiteRTSession

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgekit._values import Artifact
    from edgekit.target import Job

# numpy dtype -> (Kotlin array, method that writes it, method that reads it) of LiteRT's TensorBuffer.
_TYPES = {
    "float32": ("FloatArray", "writeFloat", "readFloat"),
    "int32": ("IntArray", "writeInt", "readInt"),
    "int64": ("LongArray", "writeLong", "readLong"),
    "int8": ("ByteArray", "writeInt8", "readInt8"),
    "bool": ("BooleanArray", "writeBoolean", "readBoolean"),
}


def write_snippets(artifacts: Sequence[Artifact], job: Job, out: Path) -> list[str]:
    """Write android/<Class>.kt for the artifacts of the job's precision.

    One whose inputs have a dtype that the Kotlin API lacks, or whose outputs differ in dtype, gets none.
    """
    written: list[str] = []
    for artifact in artifacts:
        text = _kotlin(artifact, out) if artifact.variant == job.precision else None
        if text is None:
            continue
        path = out / "android" / f"{_class_name(artifact)}.kt"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        written.append(f"android/{path.name}")
    return written


def _class_name(artifact: Artifact) -> str:
    words = "".join(char if char.isalnum() and char.isascii() else " " for char in artifact.component).split()
    return "Edgekit" + "".join(word[0].upper() + word[1:] for word in words)


def _kotlin(artifact: Artifact, out: Path) -> str | None:
    session = LiteRTSession(out / artifact.main)
    inputs, outputs = session.describe_inputs(), session.describe_outputs()
    kinds = {dtype for _, dtype, _ in outputs}
    if len(kinds) != 1 or any(dtype not in _TYPES for _, dtype, _ in (*inputs, *outputs)):
        return None
    kind = _TYPES[kinds.pop()]
    parameters = [f"        input{i}: {_TYPES[dtype][0]}," for i, (_, dtype, _) in enumerate(inputs)]
    writes = [f"        inputs[{i}].{_TYPES[dtype][1]}(input{i})" for i, (_, dtype, _) in enumerate(inputs)]
    file = artifact.main.rpartition("/")[2]
    fields = {
        "FILE": file,
        "FILE_LITERAL": f'"{file}"',
        "CLASS": _class_name(artifact),
        "VERSION": artifact.runtime.rpartition(" ")[2],
        "INPUTS": _shapes(inputs),
        "OUTPUTS": _shapes(outputs),
        "OUTPUT_ARRAY": kind[0],
        "READ": kind[2],
        "PARAMETERS": "\n".join(parameters),
        "WRITES": "\n".join(writes),
    }
    template = (Path(__file__).parent / "templates" / "LiteRTModel.kt").read_text(encoding="utf-8")
    parts = template.split("@")
    return "".join(fields[part] if index % 2 else part for index, part in enumerate(parts))


def _shapes(rows: Sequence[tuple[str, str, list[int]]]) -> str:
    """Shapes and dtypes only: names out of a model stay out of the source text."""
    return ", ".join(f"{dtype}{shape}" for _, dtype, shape in rows)
