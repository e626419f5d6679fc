"""INT8 accuracy on labelled sets: fp32, edgekit `--precision auto`, onnxruntime and NNCF on the same samples.

    python -m benchmarks.accuracy [SET ...] [--methods auto plain plain-adaround ort-u8 nncf ...]

Each method quantizes with the same calibration samples and is scored on the same test samples, which no
method has seen (benchmarks/labelled_sets.py). Every file is run without graph optimizations: x86 integer
kernels are not to be trusted. `lost` and `won` count the test samples that fp32 has right and the method
wrong, and the other way round; `agree` is the share of samples with fp32's own answer, `dB` the SQNR of the
first output against fp32 over all test samples. edgekit and NNCF with
accuracy control judge their tries by agreement with fp32 on the calibration samples. The first run makes the
peers' environment (1.6 GB) and trains the small networks; both are kept in the user's cache.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any, Literal

from benchmarks.measure import Cost, Jobs, print_table, run_job, serve_job

NAME = "benchmarks.accuracy"
SETS = ("magika", "rec", "cls", "mnist", "fashion-mnist", "lite0")
METHODS = {
    "auto": "edgekit --precision auto, ort-mobile",
    "auto-portable": "edgekit --precision auto, jetson (portable)",
    "plain": "edgekit int8, ort-mobile",
    "plain-portable": "edgekit int8, jetson (portable)",
    "auto-adaround": "edgekit --precision auto --rounding adaround, ort-mobile",
    "plain-adaround": "edgekit int8 --rounding adaround, ort-mobile",
    "portable-adaround": "edgekit int8 --rounding adaround, jetson (portable)",
    "ort-u8": "onnxruntime u8, Conv MatMul Gemm",
    "ort-all": "onnxruntime u8, every op it knows",
    "nncf": "NNCF quantize",
    "nncf-controlled": "NNCF with accuracy control",
}
_EDGEKIT = {
    "auto": ("ort-mobile", "auto", "nearest"),
    "auto-portable": ("jetson-orin", "auto", "nearest"),
    "plain": ("ort-mobile", "int8", "nearest"),
    "plain-portable": ("jetson-orin", "int8", "nearest"),
    "auto-adaround": ("ort-mobile", "auto", "adaround"),
    "plain-adaround": ("ort-mobile", "int8", "adaround"),
    "portable-adaround": ("jetson-orin", "int8", "adaround"),
}


def convert(name: str, target: str, precision: str, rounding: str, work: str) -> dict[str, Any]:
    """One convert with its proof; where the INT8 artifact lies, its MAC share, and how often it tried."""
    import edgekit
    from benchmarks.labelled_sets import open_set

    chosen = open_set(name)
    (bundle,) = edgekit.convert(
        chosen.model,
        targets=target,
        precisions=precision,
        rounding=rounding,
        samples=chosen.calibration,
        shapes={chosen.input: chosen.shape},
        output=Path(work) / f"{target}-{precision}-{rounding}",
        cache="off",
    ).bundles
    artifact = next(item for item in bundle.artifacts if item.variant == "int8")
    share = artifact.macs.share if artifact.macs else 0.0
    mix = bundle.folder / "mix.json"
    trials = len(json.loads(mix.read_text(encoding="utf-8"))["trials"]) if mix.exists() else 1
    return {"file": str(bundle.folder / artifact.main), "share": share, "trials": trials}


def quantize_with_ort(name: str, ops: str, work: str) -> dict[str, Any]:
    """quantize_static, u8 activations, MinMax: on some ops, or on all it knows.

    Weights per channel; per tensor for magika, whose products it cannot quantize otherwise.
    """
    from benchmarks.labelled_sets import open_set
    from benchmarks.peers import PeerSettings, quantize_with_peer

    chosen, out = open_set(name), Path(work) / f"ort-{ops}.onnx"
    only = ("Conv", "MatMul", "Gemm") if ops == "some" else None
    weights: Literal["channel", "tensor"] = "tensor" if name == "magika" else "channel"
    quantize_with_peer(
        chosen.model, chosen.calibration, out, settings=PeerSettings("uint8", ops=only, weights=weights)
    )
    return {"file": str(out)}


def read_answers(name: str, file: str, exact: str) -> dict[str, Any]:
    """The answer to every test sample, SQNR against `exact`, and an ONNX file's share of MACs in int8."""
    import numpy as np

    from benchmarks.labelled_sets import open_set
    from benchmarks.mac_share import count_int8_share
    from benchmarks.peers import load_feed, open_reference
    from examples.ocr_scores import decode_text, read_alphabet

    chosen, session, float_session = open_set(name), open_reference(Path(file)), open_reference(Path(exact))
    alphabet = read_alphabet(chosen.model) if chosen.judge == "words" else ()
    answers: list[Any] = []
    signal = noise = 0.0
    for feed in chosen.feeds():
        scores = np.asarray(session.run(None, feed)[0])
        answers.append(decode_text(scores, alphabet) if alphabet else int(scores[0].argmax()))
        if file != exact:
            wanted = np.asarray(float_session.run(None, feed)[0], np.float64)
            signal += float(np.sum(wanted**2))
            noise += float(np.sum((scores - wanted) ** 2))
    feed = load_feed(next(chosen.calibration.glob("*.npz")))
    share = count_int8_share(Path(file), feed) if file.endswith(".onnx") else None
    sqnr = 10 * np.log10(signal / noise) if noise else np.inf
    return {"answers": answers, "share": share, "sqnr_db": float(sqnr)}


def list_truth(name: str) -> dict[str, Any]:
    """The labels of the test samples, and where the model lies."""
    from benchmarks.labelled_sets import open_set

    chosen = open_set(name)
    return {"labels": list(chosen.labels), "model": str(chosen.model), "samples": str(chosen.calibration)}


JOBS: Jobs = {"convert": convert, "ort": quantize_with_ort, "answers": read_answers, "truth": list_truth}


def make_file(name: str, method: str, work: str, truth: dict[str, Any]) -> Cost:
    """Quantize by one method in a process of its own."""
    if method in _EDGEKIT:
        return run_job(NAME, "convert", name, *_EDGEKIT[method], work)
    if method.startswith("ort"):
        return run_job(NAME, "ort", name, "some" if method == "ort-u8" else "all", work)
    from benchmarks.peer_environment import quantize_with_nncf

    mode = "controlled" if method == "nncf-controlled" else "plain"
    out = Path(work) / f"{method}.onnx"
    return quantize_with_nncf(mode, Path(truth["model"]), Path(truth["samples"]), out)


def compare(answers: list[Any], exact: list[Any], labels: list[Any]) -> tuple[str, ...]:
    """Score, points from fp32, samples lost and won, agreement with fp32."""
    right = [a == label for a, label in zip(answers, labels, strict=True)]
    base = [a == label for a, label in zip(exact, labels, strict=True)]
    lost = sum(b and not r for r, b in zip(right, base, strict=True))
    won = sum(r and not b for r, b in zip(right, base, strict=True))
    agree = sum(a == b for a, b in zip(answers, exact, strict=True)) / len(exact)
    points = 100 * (won - lost) / len(labels)
    return f"{sum(right) / len(right):.4f}", f"{points:+.2f}", str(lost), str(won), f"{agree:.4f}"


def measure_set(name: str, methods: list[str]) -> list[tuple[str, ...]]:
    """A row a method."""
    truth = run_job(NAME, "truth", name).result
    exact = run_job(NAME, "answers", name, truth["model"], truth["model"]).result["answers"]
    rows: list[tuple[str, ...]] = [("fp32", *compare(exact, exact, truth["labels"]), *[""] * 5)]
    for method in methods:
        with tempfile.TemporaryDirectory() as work:
            try:
                cost = make_file(name, method, work, truth)
                got = run_job(NAME, "answers", name, cost.result["file"], truth["model"]).result
            except SystemExit as reason:  # a peer that refuses the model is a row too
                rows.append((METHODS[method], "refused", str(reason).splitlines()[-1][:60], *[""] * 8))
                continue
        share = cost.result.get("share") if got["share"] is None else got["share"]
        tries = str(cost.result.get("trials", ""))
        figures = compare(got["answers"], exact, truth["labels"])
        spent = (f"{share:.3f}", f"{cost.user_s:.1f}", f"{cost.peak_mb:.0f}", tries)
        rows.append((METHODS[method], *figures, f"{got['sqnr_db']:.1f}", *spent))
    return rows


def main() -> None:
    """A table a set, printed as soon as it is there."""
    if serve_job(JOBS):
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("sets", nargs="*", default=list(SETS), metavar="SET")
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    options = parser.parse_args()
    header = ("", "score", "points", "lost", "won", "agree", "dB", "int8 MACs", "user s", "MB", "tries")
    for name in options.sets:
        print_table(name, header, measure_set(name, options.methods))


if __name__ == "__main__":
    main()
