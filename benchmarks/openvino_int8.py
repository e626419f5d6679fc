"""INT8 OpenVINO IR of edgekit beside NNCF's post-training quantization: accuracy, int8 share, CPU time.

    python -m benchmarks.openvino_int8     (some minutes; NNCF lives in an environment of its own)

PP-OCRv4's angle classifier and recognizer: 32 rendered words to calibrate with, 16 others to compare on. Both
files are run by OpenVINO's CPU plugin on one thread; MACs are counted in both by the same function.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Literal

from benchmarks.measure import Jobs, print_table, run_job, run_process, serve_job

NAME = "benchmarks.openvino_int8"
CALIBRATION, HELD_OUT, RUNS = 32, 16, 20
Model = Literal["cls", "rec"]
SHAPES: dict[Model, tuple[int, ...]] = {"cls": (1, 3, 48, 192), "rec": (1, 3, 48, 320)}


def prepare_words(work: str) -> None:
    """Render the words once, a file a sample, for both models."""
    from examples.rendered_text import render_words, save_samples, to_cls_input, to_rec_input

    for model, to_input in (("cls", to_cls_input), ("rec", to_rec_input)):
        for part, count in (("calibration", CALIBRATION), ("test", HELD_OUT)):
            inputs = (to_input(word.image) for word in render_words(part, count))  # type: ignore[arg-type]
            save_samples(inputs, Path(work) / model / part)


def convert_with_edgekit(work: str, model: Model) -> str:
    """The path of the INT8 IR of one convert, proof included."""
    import edgekit
    from examples.rendered_text import find_model

    folder = Path(work) / model
    result = edgekit.convert(
        find_model(model),
        targets="openvino",
        precisions="int8",
        samples=folder / "calibration",
        shapes={"x": ",".join(map(str, SHAPES[model]))},
        output=folder / "edgekit",
        cache="off",
    )
    (bundle,) = result.bundles
    return str(bundle.folder / bundle.artifacts[0].main)


def score_file(work: str, model: Model, file: str) -> dict[str, float]:
    """SQNR (dB) against fp32 in ONNX Runtime, share of MACs in int8, CPU ms a run, MB on disk."""
    import time

    import openvino as ov

    from benchmarks.peers import load_feed, measure_sqnr, open_reference, run_first
    from edgekit.targets.openvino.artifact_macs import count_macs
    from edgekit.targets.openvino.session import OpenVinoSession
    from examples.rendered_text import find_model

    feeds = [load_feed(item) for item in sorted((Path(work) / model / "test").glob("*.npz"))]
    truth = open_reference(find_model(model))
    session = OpenVinoSession(Path(file))
    got = [next(iter(session.run(feed).values())) for feed in feeds]
    start = time.process_time()
    for _ in range(RUNS):
        session.run(feeds[0])
    cpu = (time.process_time() - start) / RUNS
    macs = count_macs(ov.Core().read_model(file), {}).macs
    size = sum(Path(file).with_suffix(ending).stat().st_size for ending in (".xml", ".bin"))
    return {
        "sqnr": measure_sqnr([run_first(truth, feed) for feed in feeds], got),
        "share": macs.share if macs else float("nan"),
        "ms": 1e3 * cpu,
        "mb": size / 1e6,
    }


JOBS: Jobs = {"prepare": prepare_words, "edgekit": convert_with_edgekit, "score": score_file}


def quantize_with_nncf(work: str, model: Model) -> tuple[float, float, str]:
    """(user CPU s, peak MB, path of the IR) of nncf.quantize with its defaults, in its own environment."""
    from examples.rendered_text import find_model

    folder = Path(work) / model
    out = folder / "nncf.xml"
    shape = ",".join(map(str, SHAPES[model]))
    worker = Path(__file__).with_name("nncf_openvino_worker.py")
    words = [str(find_model(model)), shape, str(folder / "calibration"), str(out)]
    cost = run_process([str(find_peer()), str(worker), *words])
    return cost.user_s, cost.peak_mb, str(out)


def find_peer() -> Path:
    """The Python of NNCF's environment, made on first use."""
    from benchmarks.peer_environment import cache_folder, make_environment

    folder = cache_folder() / "openvino-peer-1"
    if not (folder / "complete").exists():
        make_environment(folder, (("nncf==3.4.0", "openvino==2026.4.1"),))
        (folder / "complete").touch()
    return folder / "bin" / "python"


def main() -> None:
    """Print one table."""
    if serve_job(JOBS):
        return
    rows: list[tuple[object, ...]] = []
    with tempfile.TemporaryDirectory() as work:
        run_job(NAME, "prepare", work)
        for model in SHAPES:
            cost = run_job(NAME, "edgekit", work, model)
            nncf_cpu, nncf_peak, nncf_file = quantize_with_nncf(work, model)
            made = (
                ("edgekit convert, fp32, fp16 and proof included", cost.user_s, cost.peak_mb, cost.result),
                ("nncf.quantize", nncf_cpu, nncf_peak, nncf_file),
            )
            for name, user, peak, file in made:
                score = run_job(NAME, "score", work, model, file).result
                rows.append((model, name, user, peak, *(score[key] for key in ("sqnr", "share", "ms", "mb"))))
    header = ("model", "made by", "user s", "peak MB", "SQNR dB", "int8 MACs", "CPU ms a run", "MB")
    print_table("INT8 OpenVINO IR on this machine's CPU, one thread", header, rows)


if __name__ == "__main__":
    main()
