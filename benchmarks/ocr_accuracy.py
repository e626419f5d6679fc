"""What INT8 costs PP-OCRv4's recognizer in read words: fp32, onnxruntime's quantizer and edgekit.

    python -m benchmarks.ocr_accuracy [--look tight-1.32 ...] [--methods ort edgekit]     (10 minutes for all)

100 calibration words and 300 test words, all different, cut in the same look (examples/word_looks.py),
width 320. The default look was chosen by the peer's figures, so read every look. The standard error
of .97 on 300 words is .01. Every file, .ort too, runs with graph optimizations off: x86 kernels are
not to be trusted.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.measure import Jobs, print_table, run_job, serve_job
from examples.word_looks import DEFAULT_LOOK, LOOKS

NAME = "benchmarks.ocr_accuracy"
CALIBRATION, TEST = 100, 300
TARGETS = ("jetson-orin", "ort-mobile")
TITLES = {
    "fp32": "fp32",
    "ort-uint8": "onnxruntime Conv+MatMul, uint8 asymmetric",
    "ort-int8": "onnxruntime Conv+MatMul, int8 symmetric",
    "native ort-mobile": "edgekit --scheme native, .ort of ort-mobile",
    "auto ort-mobile": "edgekit (scheme auto), .ort of ort-mobile",
    "auto jetson-orin": "edgekit (portable), Q/DQ ONNX of jetson-orin",
}
Scores = dict[str, dict[str, Any]]


def prepare_words(work: str, look: str) -> None:
    """Render the calibration words, a file a sample."""
    from examples.rendered_text import render_words, save_samples, to_rec_input

    words = render_words("calibration", CALIBRATION, look=look)
    save_samples((to_rec_input(word.image) for word in words), Path(work) / "calibration")


def quantize_with_ort(work: str) -> None:
    """quantize_static of Conv and MatMul: asymmetric uint8, and symmetric int8 activations."""
    from benchmarks.peers import PeerSettings, quantize_with_peer
    from examples.rendered_text import find_model

    ops = ("Conv", "MatMul")
    both = {"uint8": PeerSettings("uint8", ops=ops), "int8": PeerSettings(symmetric=True, ops=ops)}
    for activation, settings in both.items():
        out = Path(work) / f"ort-{activation}.onnx"
        quantize_with_peer(find_model("rec"), Path(work) / "calibration", out, settings=settings)


def convert_with_edgekit(work: str, scheme: str) -> dict[str, dict[str, Any]]:
    """One convert for both targets: where the INT8 artifacts lie, edgekit's MAC share, and its gate."""
    import edgekit
    from benchmarks.int8_files import list_int8_files
    from examples.rendered_text import find_model

    result = edgekit.convert(
        find_model("rec"),
        targets=TARGETS,
        precisions="int8",
        scheme=scheme,
        samples=Path(work) / "calibration",
        shapes={"x": "1,3,48,320"},
        output=Path(work) / scheme,
        cache=Path(work) / "cache",
    )
    return {f"{scheme} {target}": made for target, made in list_int8_files(result).items()}


def score_file(work: str, look: str, file: str) -> dict[str, float | None]:
    """Exact match and CER on the test words, and the share of MACs in int8 where the file is ONNX."""
    from benchmarks.mac_share import count_int8_share
    from benchmarks.peers import load_feed, open_reference, run_first
    from examples.ocr_scores import decode_text, read_alphabet, score_texts
    from examples.rendered_text import find_model, render_words, to_rec_input

    alphabet, session = read_alphabet(find_model("rec")), open_reference(Path(file))
    words = render_words("test", TEST, look=look)
    read = [decode_text(run_first(session, {"x": to_rec_input(w.image)}), alphabet) for w in words]
    score = score_texts(read, [word.text for word in words])
    feed = load_feed(next((Path(work) / "calibration").glob("*.npz")))
    share = count_int8_share(Path(file), feed) if file.endswith(".onnx") else None
    return {"exact": score.exact, "cer": score.cer, "share": share}


def find_fp32() -> str:
    """Where the recognizer lies."""
    from examples.rendered_text import find_model

    return str(find_model("rec"))


JOBS: Jobs = {
    "prepare": prepare_words,
    "ort": quantize_with_ort,
    "edgekit": convert_with_edgekit,
    "score": score_file,
    "fp32": find_fp32,
}


def make_files(work: str, methods: list[str]) -> Scores:
    """The file of every row, with what its maker says of it."""
    files: Scores = {"fp32": {"file": run_job(NAME, "fp32").result}}
    if "ort" in methods:
        run_job(NAME, "ort", work)
        files |= {name: {"file": f"{work}/{name}.onnx"} for name in ("ort-uint8", "ort-int8")}
    if "edgekit" in methods:
        files |= run_job(NAME, "edgekit", work, "native").result
        files |= run_job(NAME, "edgekit", work, "auto").result
    return files


def measure_look(look: str, methods: list[str]) -> Scores:
    """Quantize with the words of one look and score on words of the same look."""
    with tempfile.TemporaryDirectory() as work:
        run_job(NAME, "prepare", work, look)
        files = make_files(work, methods)
        scores = {
            name: run_job(NAME, "score", work, look, made["file"]).result for name, made in files.items()
        }
    return {name: {**files[name], **scores[name]} for name in TITLES if name in files}


def print_look(look: str, rows: Scores) -> None:
    """One table: a row a method."""
    chosen = ", the look chosen by the peer's figures" if look == DEFAULT_LOOK else ""
    cells = [
        (
            TITLES[name] + ("" if row.get("passed", True) else " (below its gate)"),
            f"{row['exact']:.3f}",
            f"{row['cer']:.4f}",
            describe_share(row),
        )
        for name, row in rows.items()
    ]
    title = f"PP-OCRv4 rec, {TEST} test words, look {look}{chosen}"
    print_table(title, ("", "exact", "CER", "MACs in int8"), cells)


def describe_share(row: dict[str, Any]) -> str:
    """The share that mac_share.py counts, edgekit's own count where the file is no ONNX."""
    if row["share"] is None:
        return f"{row['own_share']:.3f} (edgekit's count)"
    return f"{row['share']:.3f}"


def print_means(looks: dict[str, Scores]) -> None:
    """Every method's mean over the looks, and its worst look."""
    rows = []
    for name in next(iter(looks.values())):
        exact = {look: float(scores[name]["exact"]) for look, scores in looks.items()}
        worst = min(exact, key=lambda look: exact[look])
        cer = sum(scores[name]["cer"] for scores in looks.values()) / len(looks)
        mean = sum(exact.values()) / len(exact)
        rows.append((TITLES[name], f"{mean:.3f}", f"{exact[worst]:.3f} ({worst})", f"{cer:.4f}"))
    print_table(f"Over {len(looks)} looks", ("", "mean exact", "worst", "mean CER"), rows)


def main() -> None:
    """Measure the looks and methods asked for; a table a look, then the means."""
    if serve_job(JOBS):
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--look", nargs="+", choices=LOOKS, default=list(LOOKS))
    parser.add_argument("--methods", nargs="+", choices=("ort", "edgekit"), default=["ort", "edgekit"])
    options = parser.parse_args()
    looks = {}
    for look in options.look:
        looks[look] = measure_look(look, options.methods)
        print_look(look, looks[look])
    if len(looks) > 1:
        print_means(looks)


if __name__ == "__main__":
    main()
