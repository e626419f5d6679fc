"""Models compiled for three Hexagon versions and executed here: what is whole, what the HTP adds to its Q/DQ.

    python -m benchmarks.qnn [MODEL ...] [--test 4]      (about 15 minutes; Qualcomm's x86 library executes)

edgekit: one convert for SM8550 (v73), SM8650 (v75) and SM8750 (v79), executed for the first. Peer: the QDQ
config for QNN of onnxruntime.quantization on edgekit's prepared file (BatchNorms fused), the same
calibration samples, compiled by the same onnxruntime-qnn. SQNR is against fp32 over the test samples, worst
output; `step` is the Q/DQ graph's own figure less the HTP's. How long the emulation takes is no device time
and is not told.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.litert_models import MODELS, load_samples, write_samples, write_sources
from benchmarks.measure import Jobs, print_table, run_job, serve_job

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


NAME = "benchmarks.qnn"
CHIPS = ("SM8550", "SM8650", "SM8750")
PEERS = ("uint8", "uint16")


def prepare(work: str, name: str) -> str:
    """Sources and samples; the path that edgekit converts."""
    write_samples(name, Path(work))
    return str(write_sources(name, Path(work))[0])


def convert(work: str, name: str, source: str) -> dict[str, Any]:
    """One convert for all chips, and what its partition report says."""
    import edgekit

    result = edgekit.convert(
        source,
        targets="generic-qnn",
        precisions="int8",
        samples=Path(work) / "calibration",
        shapes=MODELS[name].shapes,
        options={"qnn.chips": ",".join(CHIPS)},
        golden_count=1,
        output=Path(work) / "edgekit",
        cache="off",
    )
    (bundle,) = result.bundles
    artifact = next(item for item in bundle.artifacts if item.variant == "int8")
    report = next(file for file in artifact.files if file.endswith("partition.json"))
    source_file = next(file for file in artifact.files if file.endswith(".qdq.onnx"))
    macs = artifact.macs
    shares = (macs.int8 / macs.total, macs.int16 / macs.total) if macs and macs.total else (0.0, 0.0)
    return {
        "main": str(bundle.folder / artifact.main),
        "qdq": str(bundle.folder / source_file),
        "chips": json.loads((bundle.folder / report).read_text(encoding="utf-8"))["chips"],
        "int8": shares[0],
        "int16": shares[1],
    }


def compile_one(qdq: str) -> dict[str, Any]:
    """One Q/DQ file for one chip: what the compile alone costs."""
    from edgekit.targets.qnn.chips import load_chips
    from edgekit.targets.qnn.compile_contexts import compile_context

    with tempfile.TemporaryDirectory() as out:
        made = compile_context(Path(qdq), load_chips()[CHIPS[0]], out=Path(out), folder="context")
    return {"whole": made.partition.is_whole}


def quantize_with_peer(work: str, data: str) -> dict[str, Any]:
    """onnxruntime.quantization's config for QNN, `data` uint8 or uint16; compiled for the first chip."""
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize
    from onnxruntime.quantization.execution_providers import qnn

    from edgekit.targets.qnn.chips import load_chips
    from edgekit.targets.qnn.compile_contexts import compile_context

    folder = Path(work)

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime ships no types
        def __init__(self) -> None:
            self.feeds = iter(load_samples(folder / "calibration"))

        def get_next(self) -> Any:
            return next(self.feeds, None)

    prepared, out = folder / "prepared.onnx", folder / f"peer-{data}.onnx"
    activation = QuantType.QUInt16 if data == "uint16" else QuantType.QUInt8
    config = qnn.get_qnn_qdq_config(
        str(prepared), Reader(), activation_type=activation, weight_type=QuantType.QUInt8
    )
    quantize(str(prepared), str(out), config)
    chip = load_chips()[CHIPS[0]]
    made = compile_context(out, chip, out=folder, folder=f"peer-{data}")
    row = {"chip": chip.name, "htp_arch": chip.htp_arch, **made.partition.as_json()}
    return {"main": str(folder / made.folder), "qdq": str(out), "chips": [row]}


def judge(work: str, main: str, qdq: str, count: str) -> dict[str, float]:
    """SQNR in dB of the HTP and of the Q/DQ graph against fp32 over the first test samples, worst output."""
    from edgekit._verify import OrtSession, OutputComparison
    from edgekit.targets.qnn.session import HtpSession

    truth = OrtSession(str(Path(work) / "prepared.onnx"), name="fp32")
    runs: dict[str, Any] = {"htp": HtpSession(Path(main)), "qdq": OrtSession(qdq, name="Q/DQ")}
    found: dict[str, dict[str, OutputComparison]] = {key: {} for key in runs}
    for feeds in load_samples(Path(work) / "test")[: int(count)]:
        want = truth.run(feeds)
        for key, session in runs.items():
            got = session.run(feeds)
            for name, value in want.items():
                found[key].setdefault(name, OutputComparison(name)).add(got[name], value)
    return {key: min(row.result().sqnr_db for row in rows.values()) for key, rows in found.items()}


JOBS: Jobs = {
    "prepare": prepare,
    "convert": convert,
    "compile": compile_one,
    "peer": quantize_with_peer,
    "judge": judge,
}


def measure(name: str, count: int, peers: tuple[str, ...]) -> Iterator[list[object]]:
    """The rows of one model: edgekit's, and the peer's at each of `peers`."""
    with tempfile.TemporaryDirectory() as work:
        source = run_job(NAME, "prepare", work, name).result
        made = run_job(NAME, "convert", work, name, source).result
        alone = run_job(NAME, "compile", made["qdq"])
        label = f"edgekit, {'16' if made['int16'] > made['int8'] else '8'}-bit data"
        share = f"{100 * made['int8']:.0f} + {100 * made['int16']:.0f}"
        yield [name, label, *_places(made), *_scores(work, made, count), share, alone.user_s]
        for data in peers:
            label = f"onnxruntime.quantization, {data.removeprefix('uint')}-bit data"
            try:
                peer = run_job(NAME, "peer", work, data).result
                yield [name, label, *_places(peer), *_scores(work, peer, count), "", ""]
            except SystemExit as error:
                yield [name, label, f"fails: {str(error).strip().splitlines()[-1][:90]}", *[""] * 6]


def _places(made: Mapping[str, Any]) -> list[object]:
    """Contexts by Hexagon version, and how many nodes stay on the CPU."""
    chips = made["chips"]
    contexts = ", ".join(f"v{row['htp_arch']}: {row['contexts']}" for row in chips)
    return [contexts, max(len(row["on_cpu"]) for row in chips)]


def _scores(work: str, made: Mapping[str, Any], count: int) -> list[object]:
    score = run_job(NAME, "judge", work, made["main"], made["qdq"], count).result
    return [score["qdq"], score["htp"], score["qdq"] - score["htp"]]


def main() -> None:
    """Parse the command line and print one table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"of {', '.join(MODELS)} (default: all)")
    parser.add_argument("--test", default=4, type=int, help="test samples")
    parser.add_argument("--peer", nargs="*", default=PEERS, choices=PEERS, help="data of the peer's graphs")
    chosen = parser.parse_args()
    rows: list[list[object]] = []
    for name in chosen.models or MODELS:
        for row in measure(name, chosen.test, tuple(chosen.peer)):
            print(*row, sep=" | ", flush=True)
            rows.append(row)
    header = ["model", "Q/DQ by", "contexts", "nodes on CPU", "Q/DQ dB", "HTP dB", "step dB"]
    print_table("HTP graphs executed on the host", [*header, "% MACs int8 + int16", "compile user s"], rows)


if __name__ == "__main__" and not serve_job(JOBS):
    main()
