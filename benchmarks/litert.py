"""LiteRT files of edgekit and of onnx2tf 2.6.9: size, CPU time per run, distance from ONNX Runtime.

    python -m benchmarks.litert [MODEL ...]     (15 minutes for all; names are in litert_models.py)

Both files of a row run in one process on one core, one thread, the same LiteRT with XNNPACK, in turn, round
by round; the time is the CPU time of one invoke, its median. The peer reads edgekit's prepared graph (see
litert_models.py) and calibrates on the same samples. Its files take channels-last images, edgekit's keep the
ONNX layout and so transpose inside. MACs and operators are counted in the files by one reader for both.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.measure import Jobs, print_table, run_job, serve_job

NAME = "benchmarks.litert"
ROUNDS, SECONDS = 60, 300
Row = tuple[object, ...]


def prepare(work: str, name: str) -> str:
    """Samples and both sources; where edgekit's source lies."""
    from benchmarks.litert_models import write_samples, write_sources

    write_samples(name, Path(work))
    return str(write_sources(name, Path(work))[0])


def convert_with_edgekit(work: str, name: str, source: str) -> dict[str, str]:
    """Variant -> file."""
    import edgekit
    from benchmarks.litert_models import MODELS

    result = edgekit.convert(
        source,
        targets="litert",
        precisions="int8",
        samples=Path(work) / "calibration",
        shapes=MODELS[name].shapes,
        output=Path(work) / "edgekit",
        cache="off",
    )
    bundle = result.bundles[0]
    return {artifact.variant: str(bundle.folder / artifact.main) for artifact in bundle.artifacts}


def convert_with_peer(work: str) -> dict[str, str]:
    """Variant -> file, or the reason why there is none; calibrated in the layout of its own float file."""
    from benchmarks.onnx2tf_peer import ONNX2TF
    from benchmarks.peer_process import Request, convert_all

    folder, prepared = Path(work) / "peer", Path(work) / "prepared.onnx"
    plain = Request("fp32", prepared, folder / "fp32", {})
    made = convert_all(ONNX2TF, [plain], folder, seconds=SECONDS)["fp32"]
    file = made.find_file("_float32.tflite")
    if file is None:
        return {"fp32": made.reason, "int8": made.reason}
    options = {
        "output_integer_quantized_tflite": True,
        "custom_input_op_name_np_data_path": stack_samples(Path(work) / "calibration", file, folder),
    }
    exact = Request("int8", prepared, folder / "int8", options)
    quantized = convert_all(ONNX2TF, [plain, exact], folder, seconds=SECONDS)["int8"]
    return {"fp32": str(file), "int8": str(quantized.find_file("_integer_quant.tflite") or quantized.reason)}


def stack_samples(samples: Path, file: Path, out: Path) -> list[list[object]]:
    """The peer's form of calibration data: an array an input, mean 0 and deviation 1 (nothing to change)."""
    import numpy as np

    from benchmarks.litert_models import load_samples
    from benchmarks.tflite_files import TFLiteFile, fit_input, pick_feed

    entries: list[list[object]] = []
    for number, item in enumerate(TFLiteFile(file).inputs):
        rows = [fit_input(pick_feed(feed, item["name"], number), item) for feed in load_samples(samples)]
        path = out / f"input{number}.npy"
        np.save(path, np.concatenate(rows), allow_pickle=False)
        entries.append([item["name"], str(path), [0.0], [1.0]])
    return entries


def measure_pair(work: str, source: str, ours: str, theirs: str) -> list[dict[str, Any]]:
    """[edgekit's figures, the peer's], times taken in turn; a file that does not run says why."""
    from benchmarks.litert_models import load_samples
    from benchmarks.tflite_files import TFLiteFile, time_in_turn

    feeds = load_samples(Path(work) / "test")
    rows = [describe_file(Path(file), Path(source), feeds) for file in (ours, theirs)]
    running = [row for row in rows if "problem" not in row]
    files = [TFLiteFile(Path(row["file"])) for row in running]
    for file in files:
        file.feed(feeds[0])
    for row, times in zip(running, time_in_turn(files, rounds=ROUNDS), strict=True):
        row["ms"] = statistics.median(times)
    return rows


def describe_file(file: Path, source: Path, feeds: list[Any]) -> dict[str, Any]:
    """Size, operators, MACs in int8 and the distance from ONNX Runtime."""
    import numpy as np

    from benchmarks.peers import open_reference
    from benchmarks.tflite_files import TFLiteFile, count_int8_share, count_operators, measure_distance

    if not file.is_file():
        return {"file": str(file), "problem": str(file)}
    try:
        session, loaded = open_reference(source), TFLiteFile(file)
        names = [value.name for value in session.get_outputs()]
        truth = [dict(zip(names, map(np.asarray, session.run(names, feed)), strict=True)) for feed in feeds]
        distance = measure_distance(loaded, feeds, truth)
        share, macs = count_int8_share(file, feeds[0])
        operators = count_operators(file)
    except (ValueError, RuntimeError) as error:
        return {"file": str(file), "problem": " ".join(str(error).split())[:160]}
    return {
        "file": str(file),
        "kb": file.stat().st_size / 1024,
        "share": share,
        "macs": macs,
        "operators": operators.total(),
        "transposes": operators["TRANSPOSE"],
        **distance,
    }


JOBS: Jobs = {
    "prepare": prepare,
    "edgekit": convert_with_edgekit,
    "peer": convert_with_peer,
    "measure": measure_pair,
}


def measure_model(name: str, work: str) -> tuple[list[Row], list[str]]:
    """Four rows (two variants of two makers), and why a file of them is missing or does not run."""
    source = run_job(NAME, "prepare", work, name).result
    ours = run_job(NAME, "edgekit", work, name, source).result
    theirs = run_job(NAME, "peer", work).result
    rows: list[Row] = []
    problems = []
    for variant in ("fp32", "int8"):
        pair = run_job(NAME, "measure", work, source, ours[variant], theirs[variant]).result
        times = [item.get("ms") for item in pair]
        ratio = f"{times[0] / times[1]:.2f}" if all(times) else ""
        for maker, item in zip(("edgekit", "onnx2tf"), pair, strict=True):
            title = f"{name} {variant} {maker}"
            rows.append(make_row(title, item, ratio if maker == "edgekit" else "1"))
            problems += [f"{title}: {item['problem']}"] if "problem" in item else []
    return rows, problems


def make_row(title: str, item: dict[str, Any], ratio: str) -> Row:
    """One file's line; what could not be made or run has none but a word: its reason comes below."""
    if "problem" in item:
        return (title, "none", *[""] * 7)
    return (
        title,
        f"{item['ms']:.2f}",
        ratio,
        f"{item['kb']:.0f}",
        item["operators"],
        item["transposes"],
        f"{item['share']:.3f}",
        f"{item['relative']:.1e}",
        f"{item['sqnr']:.1f}",
    )


def main() -> None:
    """One table over the models asked for."""
    if serve_job(JOBS):
        return
    from benchmarks.litert_models import MODELS
    from benchmarks.onnx2tf_peer import ONNX2TF
    from benchmarks.peer_process import find_environment

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"of {', '.join(MODELS)}")
    names = parser.parse_args().models or list(MODELS)
    if unknown := set(names) - set(MODELS):
        parser.error(f"no model {', '.join(sorted(unknown))}")
    find_environment(ONNX2TF)
    rows: list[Row] = []
    problems: list[str] = []
    for name in names:
        with tempfile.TemporaryDirectory() as work:
            found = measure_model(name, work)
        rows += found[0]
        problems += found[1]
    header = ("", "ms", "of peer's", "KB", "ops", "transposes", "MACs int8", "largest error", "SQNR dB")
    print_table("Files in LiteRT, one thread, one core", header, rows)
    print(*problems, sep="\n")


if __name__ == "__main__":
    main()
