"""What a runtime loads of an artifact, copied into a package."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from edgekit._bundle import Bundle
    from edgekit._values import Artifact


def copy_artifact(bundle: Bundle, artifact: Artifact, folder: Path) -> None:
    """Copy the main file and what it reads into `folder`, which is made; the files keep their names."""
    for file in artifact.loaded:
        place = folder / file
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(bundle.folder / file, place)
