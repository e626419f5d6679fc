"""The Kotlin and Swift classes of a bundle, from the inputs and outputs of its .ort files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit._values import TensorInfo
from edgekit.targets.ort_mobile.runtime_session import OrtSession
from edgekit.targets.ort_mobile.snippets import Snippet, kotlin, swift

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from edgekit._values import Artifact
    from edgekit.target import Job

_DTYPES = {"float": "float32", "double": "float64"}


def write_snippets(artifacts: Sequence[Artifact], job: Job, out: Path) -> list[str]:
    """Write android/<Class>.kt and ios/<Class>.swift for the artifacts of the job's precision.

    A language whose API lacks an input's dtype gets no file, and a model that is no .ort file gets none.
    """
    written: list[str] = []
    for artifact in artifacts:
        if artifact.variant != job.precision or not artifact.main.endswith(".ort"):
            continue
        snippet = _snippet(artifact, out)
        for folder, ending, text in (("android", "kt", kotlin(snippet)), ("ios", "swift", swift(snippet))):
            if text is None:
                continue
            path = out / folder / f"{snippet.class_name}.{ending}"
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
            written.append(f"{folder}/{path.name}")
    return written


def _snippet(artifact: Artifact, out: Path) -> Snippet:
    session = OrtSession(out / artifact.main)
    words = "".join(char if char.isalnum() and char.isascii() else " " for char in artifact.component).split()
    version = artifact.runtime.removeprefix("onnxruntime ")
    return Snippet(
        file=artifact.main.rpartition("/")[2],
        class_name="Edgekit" + "".join(word[0].upper() + word[1:] for word in words),
        runtime=version,
        inputs=_infos(session.describe_inputs()),
        outputs=_infos(session.describe_outputs()),
    )


def _infos(rows: Iterable[tuple[str, str, Sequence[int | str | None]]]) -> tuple[TensorInfo, ...]:
    infos = []
    for name, kind, shape in rows:
        dtype = kind.removeprefix("tensor(").removesuffix(")")
        infos.append(TensorInfo(name, _DTYPES.get(dtype, dtype), tuple(shape)))
    return tuple(infos)
