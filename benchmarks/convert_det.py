"""Whole INT8 convert of PP-OCRv4 det for two targets, beside onnxruntime's quantize_static alone.

    python -m benchmarks.convert_det [ort | edgekit]     (a few minutes; no word: both)

32 calibration pages and 8 held-out pages of 640x640. edgekit's figures are those of the whole
process: reading, calibration, both targets, proof and bundles, with an empty cache.
quantize_static's are those of that one call; raising the opset and pre-processing come on top. It is measured
twice: as it comes, and with its sessions held to one thread (as edgekit's are), which it has no setting for.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.measure import Jobs, print_table, run_job, serve_job

NAME = "benchmarks.convert_det"
CALIBRATION, HELD_OUT = 32, 8
Row = tuple[object, ...]


def prepare_pages(work: str) -> None:
    """Render the pages once, a file a sample."""
    from examples.rendered_text import render_pages, save_samples, to_det_input

    for part, count in (("calibration", CALIBRATION), ("test", HELD_OUT)):
        save_samples(map(to_det_input, render_pages(part, count)), Path(work) / part)  # type: ignore[arg-type]


def quantize_with_ort(work: str, threads: str) -> dict[str, float]:
    """quantize_static as it comes (all ops, int8), per channel, QDQ, MinMax; threads: "own" or "one"."""
    from benchmarks.peers import PeerSettings, quantize_with_peer
    from examples.rendered_text import find_model

    folder = Path(work)
    settings = PeerSettings(one_thread=threads == "one")
    return quantize_with_peer(
        find_model("det"), folder / "calibration", folder / "ort.onnx", settings=settings
    )


def convert_with_edgekit(work: str) -> dict[str, dict[str, Any]]:
    """One convert for both targets; where the INT8 artifacts lie and what edgekit says their share is."""
    import edgekit
    from benchmarks.int8_files import list_int8_files
    from examples.rendered_text import find_model

    result = edgekit.convert(
        find_model("det"),
        targets=["jetson-orin", "ort-mobile"],
        precisions="int8",
        samples=Path(work) / "calibration",
        shapes={"x": "1,3,640,640"},
        output=Path(work) / "edgekit",
        cache=Path(work) / "cache",
    )
    return list_int8_files(result)


def score_file(work: str, file: str) -> dict[str, float | None]:
    """SQNR against fp32 on the held-out pages, and the share of MACs in int8 where the file is ONNX."""
    from benchmarks.mac_share import count_int8_share
    from benchmarks.peers import load_feed, measure_sqnr, open_reference, run_first
    from examples.rendered_text import find_model

    feeds = [load_feed(item) for item in sorted((Path(work) / "test").glob("*.npz"))]
    truth, session = open_reference(find_model("det")), open_reference(Path(file))
    sqnr = measure_sqnr(
        [run_first(truth, feed) for feed in feeds], [run_first(session, feed) for feed in feeds]
    )
    share = count_int8_share(Path(file), feeds[0]) if file.endswith(".onnx") else None
    return {"sqnr": sqnr, "share": share}


JOBS: Jobs = {
    "prepare": prepare_pages,
    "ort": quantize_with_ort,
    "edgekit": convert_with_edgekit,
    "score": score_file,
}


def measure_ort(work: str) -> list[Row]:
    """The peer's rows: the one call and its whole process, as it comes and held to one thread."""
    rows: list[Row] = []
    for threads, words in (("own", ""), ("one", ", one thread")):
        cost = run_job(NAME, "ort", work, threads)
        call, name = cost.result, f"onnxruntime quantize_static{words}"
        rows += [
            (f"{name}, the call", call["user_s"], call["system_s"], cost.peak_mb, "", ""),
            (f"{name}, the process", cost.user_s, cost.system_s, cost.peak_mb, "", ""),
        ]
    score = run_job(NAME, "score", work, f"{work}/ort.onnx").result
    return [*rows, ("  its model", "", "", "", score["sqnr"], f"{score['share']:.3f}")]


def measure_edgekit(work: str) -> list[Row]:
    """One row for the convert, one a target for what it made."""
    cost = run_job(NAME, "edgekit", work)
    rows: list[Row] = [
        ("edgekit convert, both targets, proof included", cost.user_s, cost.system_s, cost.peak_mb, "", "")
    ]
    for target, made in cost.result.items():
        score = run_job(NAME, "score", work, made["file"]).result
        own, counted = f"{made['own_share']:.3f} (edgekit's count)", score["share"]
        share = own if counted is None else f"{counted:.3f}"
        rows.append((f"  its {target}: {Path(made['file']).name}", "", "", "", score["sqnr"], share))
    return rows


def main() -> None:
    """Measure what is asked for (`ort`, `edgekit`, or both) and print one table."""
    if serve_job(JOBS):
        return
    asked = sys.argv[1:] or ["ort", "edgekit"]
    measures = {"ort": measure_ort, "edgekit": measure_edgekit}
    with tempfile.TemporaryDirectory() as work:
        run_job(NAME, "prepare", work)
        rows = [row for name in asked for row in measures[name](work)]
    print_table(
        f"INT8 of PP-OCRv4 det, {CALIBRATION} pages of 640x640, one core",
        ("", "user s", "system s", "peak MB", "SQNR dB", "MACs in int8"),
        rows,
    )


if __name__ == "__main__":
    main()
