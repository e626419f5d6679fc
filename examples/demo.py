"""The whole way with real models: PP-OCRv4 reading rendered text, in INT8, for a Jetson and for a phone.

scripts/demo runs it: it takes the recognizer and the angle classifier from their installed package,
renders calibration and labelled test data, converts both models for both targets, and prints what
INT8 costs in characters, words and angles.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import onnxruntime as ort
from rich.console import Console
from rich.table import Table

import edgekit
from examples.ocr_scores import decode_text, read_alphabet, score_texts
from examples.rendered_text import (
    CLS_SHAPE,
    REC_SHAPE,
    find_model,
    render_turned_words,
    render_words,
    save_samples,
    to_cls_input,
    to_rec_input,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edgekit._values import Artifact, BundleResult, ConvertResult
    from examples.rendered_text import Feed

CALIBRATION, TEST = 100, 300
TARGETS = ("jetson-orin", "ort-mobile")


@dataclass(frozen=True)
class Task:
    """One model of the demo: its input shape and how its calibration samples are made."""

    kind: Literal["rec", "cls"]
    shape: tuple[int, ...]

    def calibration(self) -> Iterable[Feed]:
        if self.kind == "rec":
            return (to_rec_input(word.image) for word in render_words("calibration", CALIBRATION))
        return (to_cls_input(image) for image, _ in render_turned_words("calibration", CALIBRATION))

    def score(self, model: Path) -> tuple[str, str]:
        """What the test data say of one model file, and its share of wholly right answers."""
        return score_reading(model) if self.kind == "rec" else score_angles(model)


TASKS = (Task("rec", REC_SHAPE), Task("cls", CLS_SHAPE))


@cache
def open_model(model: Path) -> ort.InferenceSession:
    """The file as it is: this host's optimizer would put in 8-bit kernels that saturate on x86."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 2
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def run_model(model: Path, feed: Feed) -> Feed:
    """The first output for one input."""
    session = open_model(model)
    return np.asarray(session.run(None, {session.get_inputs()[0].name: feed})[0], np.float32)


def score_reading(model: Path) -> tuple[str, str]:
    """Character accuracy and share of words read exactly, on the labelled test words."""
    alphabet, words = read_alphabet(find_model("rec")), render_words("test", TEST)
    read = [decode_text(run_model(model, to_rec_input(word.image)), alphabet) for word in words]
    score = score_texts(read, [word.text for word in words])
    return f"{1 - score.cer:.4f} of characters", f"{score.exact:.3f} of words"


def score_angles(model: Path) -> tuple[str, str]:
    """Share of upright and upside-down words told apart."""
    turned = render_turned_words("test", TEST)
    right = sum(int(run_model(model, to_cls_input(image)).argmax()) == label for image, label in turned)
    return "", f"{right / TEST:.3f} of angles"


def convert_task(task: Task, out: Path) -> ConvertResult:
    """INT8 bundles of one model for both targets, from its rendered calibration samples."""
    return edgekit.convert(
        find_model(task.kind),
        targets=TARGETS,
        precisions="int8",
        samples=save_samples(task.calibration(), out / f"{task.kind}-calibration"),
        shapes={"x": task.shape},
        output=out / task.kind,
        overwrite=True,
    )


def describe_artifact(task: Task, bundle: BundleResult, artifact: Artifact) -> tuple[str, ...]:
    """One line of the table for one artifact."""
    file = bundle.folder / artifact.main
    size = sum((bundle.folder / name).stat().st_size for name in artifact.files) / 1e6
    share = f"{artifact.macs.share:.1%}" if artifact.macs else "unknown"
    return (f"{task.kind}, {bundle.requested}", *task.score(file), share, f"{size:.1f} MB")


def main() -> int:
    """Convert, score, print; 0 if every bundle passed its gate."""
    if sys.argv[1:] not in ([], ["--help"]):
        print("demo: takes no arguments; it writes to ./demo-out", file=sys.stderr)
        return 2
    if sys.argv[1:]:
        print(__doc__)
        return 0
    out, console, passed = Path("demo-out"), Console(), True
    table = Table("model", "characters", "exact", "MACs in int8", "size", title="PP-OCRv4 on rendered text")
    for task in TASKS:
        fp32 = find_model(task.kind)
        console.print(f"Converting {fp32.name} for {' and '.join(TARGETS)} ...")
        result = convert_task(task, out)
        passed &= result.passed
        table.add_row(f"{task.kind}, fp32", *task.score(fp32), "0.0%", f"{fp32.stat().st_size / 1e6:.1f} MB")
        for bundle in result.bundles:
            for artifact in (item for item in bundle.artifacts if item.variant == "int8"):
                table.add_row(*describe_artifact(task, bundle, artifact))
    console.print(table)
    for task in TASKS:
        console.print(f"Bundles of {task.kind}: {out / task.kind}", highlight=False)
    console.print(
        "The Jetson rows are the Q/DQ graph computed on this host; no TensorRT engine was built here."
    )
    return 0 if passed else 1


if __name__ == "__main__":
    raise SystemExit(main())
