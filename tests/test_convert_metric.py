"""A task score is told again from the cache only while everything that decides it stays the same."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

import edgekit
from tests.converted import ORT, make_workspace

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def work(tmp_path: Path) -> Path:
    return make_workspace(tmp_path)


def score(work: Path, metric: str) -> tuple[float, float]:
    """fp32's and the INT8 artifact's score, as the sealed bundle tells them."""
    edgekit.convert(
        work / "m.onnx",
        targets="ort-mobile",
        samples=work / "data",
        metric=metric,
        gate={"max_task_drop": 10},
        output=work / "out",
        cache=work / "cache",
        overwrite=True,
    )
    manifest = json.loads((work / "out" / ORT / "manifest.json").read_text())
    (task,) = [row["task"] for row in manifest["parity"] if row["variant"] == "int8"]
    return task["fp32"], task["artifact"]


def write_labels(work: Path, labels: list[int]) -> None:
    rows = [f"{index}.npz,{label}" for index, label in enumerate(labels)]
    (work / "data" / "labels.csv").write_text("\n".join(["file,label", *rows]) + "\n")


def test_new_labels_give_a_new_score(work: Path) -> None:
    import onnxruntime as ort

    session = ort.InferenceSession((work / "m.onnx").read_bytes())
    samples = [np.load(work / "data" / f"{index}.npz")["x"] for index in range(6)]
    best = [int(np.asarray(session.run(None, {"x": sample})[0]).argmax()) for sample in samples]
    write_labels(work, best)
    assert score(work, "top1")[0] == 1.0
    write_labels(work, [label + 1 for label in best])
    assert score(work, "top1")[0] == 0.0


def test_a_changed_metric_function_is_run_again(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(work)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    for value in (0.25, 0.75):
        body = f"def judge(stream):\n    return {value} if list(stream) else 0.0\n"
        (work / "metric_that_changes.py").write_text(body)
        monkeypatch.delitem(sys.modules, "metric_that_changes", raising=False)
        assert score(work, "metric_that_changes:judge") == (value, value)
    monkeypatch.delitem(sys.modules, "metric_that_changes")
