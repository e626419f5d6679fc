"""Writes the files of one report into its folder: whole, or not at all."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Mapping


def write_files(texts: Mapping[str, str], output: Path) -> None:
    """Texts by file name, all complete before the first is put in place; other files there stay.

    OutputError where they cannot be written.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=".report-", dir=output))
    except OSError as error:
        raise OutputError(
            f"folder '{output}' cannot be written ({error.strerror})", fix="name another one with -o"
        ) from error
    try:
        for name, text in texts.items():
            (staging / name).write_text(text, encoding="utf-8")
        for name in texts:
            (staging / name).replace(output / name)
    except OSError as error:
        raise OutputError(
            f"the report cannot be written to '{output}' ({error.strerror})",
            fix="make room, or name another folder",
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
