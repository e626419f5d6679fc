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
from rich import box
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
    from edgekit._results import BundleResult, ConvertResult
    from edgekit._values import Artifact
    from examples.rendered_text import Feed

CALIBRATION, TEST = 100, 300
TARGETS = ("jetson-orin", "ort-mobile")


@dataclass(frozen=True)
class Task:
    """One model of the demo: its input shape and the task metric that judges its bundles."""

    kind: Literal["rec", "cls"]
    shape: tuple[int, ...]
    metric: str

    def save_calibration(self, folder: Path) -> Path:
        """Write the calibration samples with their labels."""
        if self.kind == "rec":
            words = render_words("calibration", CALIBRATION)
            inputs = (to_rec_input(word.image) for word in words)
            return save_samples(inputs, folder, labels=[word.text for word in words])
        turned = render_turned_words("calibration", CALIBRATION)
        inputs = (to_cls_input(image) for image, _ in turned)
        return save_samples(inputs, folder, labels=[label for _, label in turned])

    def score(self, model: Path) -> tuple[str, str]:
        """Characters and words, or angles, that one model file gets right in the test data."""
        return score_reading(model) if self.kind == "rec" else score_angles(model)


TASKS = (Task("rec", REC_SHAPE, "cer"), Task("cls", CLS_SHAPE, "top1"))


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
    """Character accuracy (1 - CER) and share of words read exactly, on the labelled test words."""
    alphabet, words = read_alphabet(find_model("rec")), render_words("test", TEST)
    read = [decode_text(run_model(model, to_rec_input(word.image)), alphabet) for word in words]
    score = score_texts(read, [word.text for word in words])
    return f"{1 - score.cer:.4f}", f"{score.exact:.3f} words"


def score_angles(model: Path) -> tuple[str, str]:
    """Share of upright and upside-down words told apart."""
    turned = render_turned_words("test", TEST)
    right = sum(int(run_model(model, to_cls_input(image)).argmax()) == label for image, label in turned)
    return "-", f"{right / TEST:.3f} angles"


def convert_task(task: Task, out: Path) -> ConvertResult:
    """INT8 bundles of one model for both targets, judged by the task metric on the labelled samples."""
    return edgekit.convert(
        find_model(task.kind),
        targets=TARGETS,
        precisions="int8",
        samples=task.save_calibration(out / f"{task.kind}-calibration"),
        metric=task.metric,
        shapes={"x": task.shape},
        output=out / task.kind,
        overwrite=True,
    )


def describe_artifact(task: Task, bundle: BundleResult, artifact: Artifact) -> tuple[str, ...]:
    """One line of the table for one artifact."""
    sizes = [(bundle.folder / name).stat().st_size for name in artifact.loaded]
    share = f"{artifact.macs.share:.1%}" if artifact.macs else "unknown"
    gate = "passed" if bundle.passed else "FAILED"
    scores = task.score(bundle.folder / artifact.main)
    return (f"{task.kind} int8, {bundle.requested}", *scores, share, f"{sum(sizes) / 1e6:.1f} MB", gate)


def convert_and_score(task: Task, out: Path, table: Table) -> ConvertResult:
    """Convert one model and add its rows, fp32 first."""
    fp32, result = find_model(task.kind), convert_task(task, out)
    table.add_row(f"{task.kind} fp32", *task.score(fp32), "0.0%", f"{fp32.stat().st_size / 1e6:.1f} MB", "-")
    for bundle in result.bundles:
        for artifact in (item for item in bundle.artifacts if item.variant == "int8"):
            table.add_row(*describe_artifact(task, bundle, artifact))
    return result


def main() -> int:
    """Convert, score, print; 0 if every bundle passed its gate."""
    if sys.argv[1:] not in ([], ["--help"]):
        print("demo: takes no arguments; it writes to ./demo-out", file=sys.stderr)
        return 2
    if sys.argv[1:]:
        print(__doc__)
        return 0
    out, results = Path("demo-out"), []
    table = Table("", "characters", "exact", "int8 MACs", "size", "gate", box=box.SIMPLE)
    for task in TASKS:
        print(f"Converting {find_model(task.kind).name} for {' and '.join(TARGETS)} ...", flush=True)
        results.append(convert_and_score(task, out, table))
    print(f"\nPP-OCRv4 on {TEST} rendered test words; {CALIBRATION} other words for calibration and gate")
    Console(width=92).print(table)
    print("jetson-orin is the Q/DQ graph computed on this host: no TensorRT engine was built or timed here.")
    print("ort-mobile is the .ort file itself, run on this host: no phone has run it.\n\nBundles:")
    for bundle in (bundle for result in results for bundle in result.bundles):
        print(f"  {bundle.folder}")
    return 0 if all(result.passed for result in results) else 1


if __name__ == "__main__":
    raise SystemExit(main())
