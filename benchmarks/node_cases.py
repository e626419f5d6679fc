"""ONNX's node cases of the committed list, as files that every side of a comparison reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conformance import Case, Inputs

IR_VERSION = 10  # what the peers' older onnx reads too


def list_cases(inputs: Inputs, every: int) -> list[Case]:
    """Every `every`-th case of the committed list."""
    from tests.conformance import eligible_cases

    return list(eligible_cases(inputs))[::every]


def write_case(case: Case, folder: Path) -> Path:
    """The model; beside it its feeds, and the one expected result."""
    import onnx

    folder.mkdir(parents=True, exist_ok=True)
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    model.ir_version = min(model.ir_version, IR_VERSION)
    onnx.save(model, folder / "model.onnx")
    np.savez(folder / "expected.npz", allow_pickle=False, value=next(iter(case.expected.values())))
    np.savez(folder / "feeds.npz", allow_pickle=False, **case.feeds)
    return folder / "model.onnx"


def read_feeds(folder: Path) -> dict[str, np.ndarray]:
    """What write_case wrote, in the model's order."""
    with np.load(folder / "feeds.npz") as content:
        return {name: content[name] for name in content.files}


def read_expected(folder: Path) -> np.ndarray:
    """The one expected result."""
    with np.load(folder / "expected.npz") as content:
        return np.asarray(content["value"])
