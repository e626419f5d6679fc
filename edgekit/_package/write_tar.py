"""A .tar.gz whose bytes follow from its members alone."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def write_tar(target: Path, members: Mapping[str, Path | bytes]) -> None:
    """Write files and bytes under the names given, sorted, without times, owners and host names.

    Nothing is compressed: weights hardly shrink, and squeezing them takes longer than all else.
    """
    with (
        target.open("xb") as out,
        gzip.GzipFile(filename="", mode="wb", fileobj=out, mtime=0, compresslevel=0) as plain,
        tarfile.open(fileobj=plain, mode="w", format=tarfile.GNU_FORMAT) as tar,
    ):
        for name, content in sorted(members.items()):
            member = tarfile.TarInfo(name)
            member.mode = 0o644
            if isinstance(content, Path):
                member.size = content.stat().st_size
                with content.open("rb") as file:
                    tar.addfile(member, file)
            else:
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
