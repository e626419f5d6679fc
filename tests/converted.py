"""A toy model and its samples on disk, and the command line run on them: what the convert tests share."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
from click.testing import CliRunner, Result

import edgekit
from edgekit.cli import main
from tests.models import toy_cnn

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ORT = "generic-ort-mobile"
JETSON = "jetson-orin-nano-8gb"
BOTH = ("--target", JETSON, "--target", "ort-mobile")


def make_workspace(folder: Path) -> Path:
    """`m.onnx` (a CNN over x [1,3,16,16]), `batch.onnx` (the same over x [batch,3,16,16]) and `data/`."""
    (folder / "m.onnx").write_bytes(toy_cnn().SerializeToString())
    (folder / "batch.onnx").write_bytes(toy_cnn(batch="batch").SerializeToString())
    (folder / "data").mkdir()
    for index, sample in enumerate(np.random.default_rng(3).standard_normal((6, 1, 3, 16, 16))):
        np.savez(folder / "data" / f"{index}.npz", allow_pickle=False, x=sample.astype(np.float32))
    return folder


def make_bundle(folder: Path, target: str = "ort-mobile") -> Path:
    """The INT8 bundle of `m.onnx` with its float baseline, for one target; its folder."""
    place = make_workspace(folder)
    result = edgekit.convert(
        place / "m.onnx",
        targets=target,
        precisions="int8",
        samples=place / "data",
        output=place / "out",
        cache="off",
    )
    return result.bundles[0].folder


def run(*words: str | Path) -> Result:
    """`edgekit WORDS` in this process."""
    return CliRunner().invoke(main, [str(word) for word in words])


def command_line(*words: str | Path, first: str = "") -> list[str]:
    """The argv of `edgekit WORDS` in a process of its own; `first` is Python that runs before it."""
    return [sys.executable, "-c", f"{first}\nfrom edgekit.cli import main; main()", *map(str, words)]


def run_apart(
    *words: str | Path, launch: tuple[str, ...] = (), first: str = ""
) -> subprocess.CompletedProcess[str]:
    """`edgekit WORDS` in a process of its own, behind the words of `launch`."""
    command = [*launch, *command_line(*words, first=first)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def read_tree(folder: Path) -> dict[str, bytes]:
    """Every file below `folder` by its path, hidden ones too."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def sqnr_db(got: Mapping[str, np.ndarray], want: Mapping[str, np.ndarray]) -> float:
    """10 log10(signal/noise), the worst over the outputs."""
    rates = []
    for name, expected in want.items():
        noise = float(((got[name].astype(np.float64) - expected) ** 2).sum())
        rates.append(10 * np.log10(float((expected.astype(np.float64) ** 2).sum()) / noise))
    return float(min(rates))


def is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0
