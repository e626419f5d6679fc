"""The Kotlin class of a bundle, from the context's real inputs and outputs; it is not compiled here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.targets.qnn.chips import chips_of
from edgekit.targets.qnn.compile_contexts import MODEL
from edgekit.targets.qnn.options import read_options
from edgekit.targets.qnn.session import describe_context

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgekit._values import Artifact
    from edgekit.target import Job


def write_snippets(artifacts: Sequence[Artifact], job: Job, out: Path) -> list[str]:
    """Write android/<Class>.kt for each context of the job's precision."""
    written: list[str] = []
    for artifact in artifacts:
        if artifact.variant != job.precision or not (out / artifact.main).is_dir():
            continue
        path = out / "android" / f"{_class_name(artifact)}.kt"
        path.parent.mkdir(exist_ok=True)
        path.write_text(_kotlin(artifact, job, out), encoding="utf-8")
        written.append(f"android/{path.name}")
    return written


def _class_name(artifact: Artifact) -> str:
    words = "".join(char if char.isalnum() and char.isascii() else " " for char in artifact.component).split()
    return "EdgekitQnn" + "".join(word[0].upper() + word[1:] for word in words)


def _kotlin(artifact: Artifact, job: Job, out: Path) -> str:
    inputs, outputs = describe_context(out / artifact.main)
    row = job.device.versions[job.device.software]
    fields = {
        "MODEL": MODEL,
        "CONTEXTS": _contexts(artifact),
        "CHIPS": ", ".join(chip.title for chip in chips_of(job.device, read_options(job).chips)),
        "CLASS": _class_name(artifact),
        "QNN": artifact.runtime.rpartition(" ")[2],
        "QAIRT": row.get("qairt", "?"),
        "LITERT": job.device.facts.get("board_of", "litert"),
        "INPUTS": _shapes(inputs),
        "OUTPUTS": _shapes(outputs),
        "AT": "@",
    }
    template = (Path(__file__).parent / "templates" / "QnnModel.kt").read_text(encoding="utf-8")
    parts = template.split("@")
    return "".join(fields[part] if index % 2 else part for index, part in enumerate(parts))


def _contexts(artifact: Artifact) -> str:
    """Chip -> folder, as a Kotlin map's entries; a folder's name ends in its chip's."""
    folders = [name.removesuffix(f"/{MODEL}") for name in artifact.files if name.endswith(f"/{MODEL}")]
    return ", ".join(f'"{folder.rpartition(".")[2]}" to "{folder}"' for folder in folders)


def _shapes(rows: Sequence[tuple[str, list[int]]]) -> str:
    """Shapes and dtypes only: names out of a model stay out of the source text."""
    return ", ".join(f'"{dtype}{shape}"' for dtype, shape in rows)
