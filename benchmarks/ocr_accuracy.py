"""What INT8 costs PP-OCRv4's recognizer in read words: fp32, edgekit's schemes and onnxruntime's.

    python -m benchmarks.ocr_accuracy [ort | edgekit]     (a few minutes; no word: both)

100 calibration words and 300 test words, all different (examples/rendered_text.py), width 320.
Every file, .ort too, runs with graph optimizations off: x86 kernels are not to be trusted.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from benchmarks.measure import Jobs, print_table, run_job, serve_job

NAME = "benchmarks.ocr_accuracy"
CALIBRATION, TEST = 100, 300
Row = tuple[object, ...]


def prepare_words(work: str) -> None:
    """Render the calibration words, a file a sample."""
    from examples.rendered_text import render_words, save_samples, to_rec_input

    words = render_words("calibration", CALIBRATION)
    save_samples((to_rec_input(word.image) for word in words), Path(work) / "calibration")


def quantize_with_ort(work: str, activation: str, out: str) -> None:
    """quantize_static of Conv and MatMul: asymmetric uint8, or symmetric int8 activations."""
    from benchmarks.peers import PeerSettings, quantize_with_peer
    from examples.rendered_text import find_model

    ops = ("Conv", "MatMul")
    settings = (
        PeerSettings("uint8", ops=ops) if activation == "uint8" else PeerSettings(symmetric=True, ops=ops)
    )
    quantize_with_peer(find_model("rec"), Path(work) / "calibration", Path(out), settings=settings)


def convert_with_edgekit(work: str) -> dict[str, dict[str, str]]:
    """One convert for both targets; where the INT8 artifacts lie and what edgekit says their share is."""
    import edgekit
    from examples.rendered_text import find_model

    result = edgekit.convert(
        find_model("rec"),
        targets=["jetson-orin", "ort-mobile"],
        precisions="int8",
        samples=Path(work) / "calibration",
        shapes={"x": "1,3,48,320"},
        output=Path(work) / "edgekit",
        cache=Path(work) / "cache",
    )
    return {
        bundle.requested: {"file": str(bundle.folder / artifact.main), "share": f"{artifact.macs.share:.3f}"}
        for bundle in result.bundles
        for artifact in bundle.artifacts
        if artifact.variant == "int8" and artifact.macs
    }


def score_file(work: str, file: str) -> dict[str, float | None]:
    """Exact match and CER on the test words, and the share of MACs in int8 where the file is ONNX."""
    from benchmarks.mac_share import count_int8_share
    from benchmarks.peers import load_feed, open_reference, run_first
    from examples.ocr_scores import decode_text, read_alphabet, score_texts
    from examples.rendered_text import find_model, render_words, to_rec_input

    alphabet, session = read_alphabet(find_model("rec")), open_reference(Path(file))
    words = render_words("test", TEST)
    read = [decode_text(run_first(session, {"x": to_rec_input(w.image)}), alphabet) for w in words]
    score = score_texts(read, [word.text for word in words])
    feed = load_feed(next((Path(work) / "calibration").glob("*.npz")))
    share = count_int8_share(Path(file), feed) if file.endswith(".onnx") else None
    return {"exact": score.exact, "cer": score.cer, "share": share}


JOBS: Jobs = {
    "prepare": prepare_words,
    "ort": quantize_with_ort,
    "edgekit": convert_with_edgekit,
    "score": score_file,
}


def score_row(title: str, work: str, file: str, *, share: str = "") -> Row:
    """One line of the table for one file."""
    score = run_job(NAME, "score", work, file).result
    shown = f"{share} (edgekit's count)" if score["share"] is None else f"{score['share']:.3f}"
    return (title, f"{score['exact']:.3f}", f"{score['cer']:.4f}", shown)


def measure_ort(work: str) -> list[Row]:
    """The peer's two settings."""
    titles = {
        "uint8": "onnxruntime Conv+MatMul, uint8 asymmetric",
        "int8": "onnxruntime Conv+MatMul, int8 symmetric",
    }
    rows = []
    for activation, title in titles.items():
        run_job(NAME, "ort", work, activation, f"{work}/ort-{activation}.onnx")
        rows.append(score_row(title, work, f"{work}/ort-{activation}.onnx"))
    return rows


def measure_edgekit(work: str) -> list[Row]:
    """One line an INT8 artifact: portable for Jetson, the native scheme for ort-mobile."""
    made = run_job(NAME, "edgekit", work).result
    return [
        score_row(f"edgekit {target}: {Path(item['file']).name}", work, item["file"], share=item["share"])
        for target, item in made.items()
    ]


def main() -> None:
    """Measure what is asked for (`ort`, `edgekit`, or both) and print one table."""
    if serve_job(JOBS):
        return
    asked = sys.argv[1:] or ["ort", "edgekit"]
    measures = {"ort": measure_ort, "edgekit": measure_edgekit}
    with tempfile.TemporaryDirectory() as work:
        run_job(NAME, "prepare", work)
        rows = [row for name in asked for row in measures[name](work)]
        from examples.rendered_text import find_model

        rows.insert(0, score_row("fp32", work, str(find_model("rec"))))
    print_table(f"PP-OCRv4 rec on {TEST} rendered words", ("", "exact", "CER", "MACs in int8"), rows)


if __name__ == "__main__":
    main()
