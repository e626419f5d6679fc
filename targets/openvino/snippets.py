"""The Python class of a bundle, from the artifact's real inputs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.targets.openvino.session import OpenVinoSession

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgekit._values import Artifact
    from edgekit.target import Job


def write_snippets(artifacts: Sequence[Artifact], job: Job, out: Path) -> list[str]:
    """Write python/edgekit_<component>.py for the artifacts of the job's precision."""
    template = (Path(__file__).parent / "templates" / "model.py.txt").read_text(encoding="utf-8")
    written = []
    for artifact in artifacts:
        if artifact.variant != job.precision:
            continue
        # Shapes and dtypes only: names out of a model stay out of the source text.
        inputs = OpenVinoSession(out / artifact.main).describe_inputs()
        fields = {
            "FILE": artifact.main,
            "VERSION": artifact.runtime,
            "COMPONENT": re.sub(r"\W", "_", artifact.component),
            "INPUTS": ", ".join(f"{dtype}{shape}" for _, dtype, shape in inputs),
        }
        parts = template.split("@")
        text = "".join(fields[part] if place % 2 else part for place, part in enumerate(parts))
        path = out / "python" / f"edgekit_{fields['COMPONENT']}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        written.append(f"python/{path.name}")
    return written
