"""Models compiled for three Hexagon versions and executed here: what is whole, what the HTP adds to its Q/DQ.

    python -m benchmarks.qnn [MODEL ...] [--test N]      (about half an hour; Qualcomm's x86 library executes)
    python -m benchmarks.qnn ppocr-rec --weights int8 int4 --data u16 u8 [--rounding adaround]

edgekit: one convert for SM8550 (v73), SM8650 (v75) and SM8750 (v79), executed for the first, with each of
--weights and --data. Peer: the QDQ config for QNN of onnxruntime.quantization on edgekit's prepared file
(BatchNorms fused), the same calibration samples, compiled by the same onnxruntime-qnn; its int4 weights have
a scale a channel too. `kept`: nodes of a last Softmax that edgekit leaves to the CPU behind the one context.
SQNR is against fp32 over the test samples, worst output, and `scores` in front of its last Softmax, Sigmoid
or Exp; `step` is the Q/DQ graph's own figure less the HTP's, in [ ] 90 % of it as the samples are drawn anew;
`apart` is SQNR between the two, `Q/DQ itself` between the Q/DQ graph and itself with an input that moved by
up to 0.005 of its step. `ops`: each operator fed with what the HTP had there, the most steps that one code is
off (0.5 is rounding) and by which op. Bytes are of the first chip's context. How long the emulation takes is
no device time and is not told.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.litert_models import MODELS, load_samples, write_samples, write_sources
from benchmarks.measure import Jobs, print_table, run_job, serve_job

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


NAME = "benchmarks.qnn"
CHIPS = ("SM8550", "SM8650", "SM8750")
PEERS = ("uint8", "uint16")
WEIGHTS = ("int8", "int4")
DATA = ("auto", "u16", "u8")
# Test samples: what the emulation does in a minute or two; of cls more, for a few unsure words make its
# figure (over 200 words Q/DQ graph and HTP were 3 dB apart, over 2000 half a dB).
TESTS = {"ppocr-cls": 2000, "ppocr-rec": 40, "ppocr-det": 4, "basic-pitch": 6, "magika": 36}
_OTHERS = 16
_RATES = ("Q/DQ dB", "HTP dB", "step dB", "apart dB", "Q/DQ itself dB")
HEADER = [
    *("model", "Q/DQ by", "data", "weights", "contexts", "nodes on CPU", "bytes", "samples"),
    *(*_RATES, *(f"scores: {rate}" for rate in _RATES), "ops", "MACs", "compile user s"),
]


def prepare(work: str, name: str) -> str:
    """Sources and samples; the path that edgekit converts."""
    write_samples(name, Path(work))
    return str(write_sources(name, Path(work))[0])


def convert(work: str, name: str, source: str, form: str) -> dict[str, Any]:
    """One convert for all chips, and what its partition report says. form: weights, data and rounding."""
    import edgekit
    from edgekit._qdq.find_tail import TINY

    weights, data, rounding = form.split()
    output = Path(work) / f"edgekit-{weights}-{data}"
    result = edgekit.convert(
        source,
        targets="generic-qnn",
        precisions="int8",
        samples=Path(work) / "calibration",
        shapes=MODELS[name].shapes,
        options={"qnn.chips": ",".join(CHIPS), "qnn.weights": weights, "qnn.activation": data},
        rounding=rounding,
        golden_count=1,
        output=output,
        cache="off",
    )
    (bundle,) = result.bundles
    artifact = next(item for item in bundle.artifacts if item.variant == "int8")
    report = next(file for file in artifact.files if file.endswith("partition.json"))
    source_file = next(file for file in artifact.files if file.endswith(".qdq.onnx"))
    macs = artifact.macs
    wide = macs is not None and macs.int16 + macs.int16x4 > macs.int8 + macs.int8x4
    return {
        "main": str(bundle.folder / artifact.main),
        "qdq": str(bundle.folder / source_file),
        "chips": json.loads((bundle.folder / report).read_text(encoding="utf-8"))["chips"],
        "data": "16" if wide else "8",
        "most_kept": TINY,
        "macs": "" if macs is None else "; ".join([f"int8: {100 * macs.share:.1f} %", *macs.other_words()]),
    }


def compile_one(qdq: str) -> dict[str, Any]:
    """One Q/DQ file for one chip: what the compile alone costs."""
    from edgekit.targets.qnn.chips import load_chips
    from edgekit.targets.qnn.compile_contexts import compile_context

    with tempfile.TemporaryDirectory() as out:
        made = compile_context(Path(qdq), load_chips()[CHIPS[0]], out=Path(out), folder="context")
    return {"whole": made.partition.is_whole}


def quantize_with_peer(work: str, weights: str, data: str) -> dict[str, Any]:
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

    name = f"peer-{weights}-{data}"
    prepared, out = folder / "prepared.onnx", folder / f"{name}.onnx"
    activation = QuantType.QUInt16 if data == "uint16" else QuantType.QUInt8
    kind = QuantType.QInt4 if weights == "int4" else QuantType.QUInt8
    config = qnn.get_qnn_qdq_config(
        str(prepared), Reader(), activation_type=activation, weight_type=kind, per_channel=weights == "int4"
    )
    quantize(str(prepared), str(out), config)
    chip = load_chips()[CHIPS[0]]
    made = compile_context(out, chip, out=folder, folder=name)
    row = {"chip": chip.name, "htp_arch": chip.htp_arch, **made.partition.as_json()}
    return {"main": str(folder / made.folder), "qdq": str(out), "chips": [row], "most_kept": 0}


def judge(name: str, prepared: str, main: str, qdq: str, limits: str) -> dict[str, Any]:
    """What `judge_htp` tells; SystemExit where the context gives other outputs than the judged twin."""
    import numpy as np
    import onnx_ir as ir

    from benchmarks.qnn_judge import judge_htp
    from edgekit.targets.qnn.chips import load_chips
    from edgekit.targets.qnn.session import HtpSession

    count, most_kept = (int(word) for word in limits.split())
    samples, chip = list(MODELS[name].samples("test", count)), load_chips()[CHIPS[0]]
    found = judge_htp(ir.load(prepared), ir.load(qdq), chip=chip, samples=samples, most_kept=most_kept)
    own, twin = HtpSession(Path(main)).run(samples[0]), found.pop("first")
    if any(not np.array_equal(own[output], array) for output, array in twin.items()):
        raise SystemExit("the context and its twin with inner tensors give different outputs")
    return found


JOBS: Jobs = {
    "prepare": prepare,
    "convert": convert,
    "compile": compile_one,
    "peer": quantize_with_peer,
    "judge": judge,
}


def measure(name: str, chosen: argparse.Namespace) -> Iterator[list[object]]:
    """The rows of one model: edgekit's and the peer's with each kind of weights and data."""
    with tempfile.TemporaryDirectory() as work:
        source = run_job(NAME, "prepare", work, name).result
        for weights, data in product(chosen.weights, chosen.data):
            made = run_job(NAME, "convert", work, name, source, f"{weights} {data} {chosen.rounding}").result
            alone = run_job(NAME, "compile", made["qdq"])
            label = ["edgekit", f"{made['data']}-bit", weights]
            told = [*_places(made), *_judged(work, name, made, chosen.test)]
            yield [name, *label, *told, made["macs"], alone.user_s]
        for weights, data in product(chosen.weights, chosen.peer):
            label = ["onnxruntime.quantization", f"{data.removeprefix('uint')}-bit", weights]
            try:
                peer = run_job(NAME, "peer", work, weights, data).result
                yield [name, *label, *_places(peer), *_judged(work, name, peer, chosen.test), "", ""]
            except SystemExit as error:
                why = f"fails: {str(error).strip().splitlines()[-1][:90]}"
                yield [name, *label, why, *[""] * (len(HEADER) - 5)]


def _places(made: Mapping[str, Any]) -> list[object]:
    """Contexts by Hexagon version, what stays on the CPU, and the bytes of what was executed."""
    chips = made["chips"]
    contexts = ", ".join(f"v{row['htp_arch']}: {row['contexts']}" for row in chips)
    size = sum(path.stat().st_size for path in Path(made["main"]).iterdir())
    left = max(len(row["on_cpu"]) for row in chips)
    kept = max(len(row.get("kept_on_cpu_by_edgekit", ())) for row in chips)
    return [contexts, f"{left}, and {kept} kept" if kept else left, size]


def _judged(work: str, name: str, made: Mapping[str, Any], asked: int | None) -> list[object]:
    count = asked or TESTS.get(name, _OTHERS)
    prepared = str(Path(work) / "prepared.onnx")
    limits = f"{count} {made['most_kept']}"
    found = run_job(NAME, "judge", name, prepared, made["main"], made["qdq"], limits).result
    cells: list[object] = [count]
    for row in (found["outputs"], found["scores"]):
        step = f"{row['step']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"
        itself = "" if math.isnan(row["itself"]) else row["itself"]
        cells += [row["qdq"], row["htp"], step, row["between"], itself]
    ops = [f"{row['most']:.2f} {row['op']} ({bits} bits)" for bits, row in found["ops"].items()]
    return [*cells, ", ".join(ops) or "not told"]


def main() -> None:
    """Parse the command line and print one table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"of {', '.join(MODELS)} (default: all)")
    parser.add_argument("--test", type=int, help="test samples (default: by model, 4 to 200)")
    parser.add_argument("--weights", nargs="+", default=["int8"], choices=WEIGHTS, help="kinds of weights")
    parser.add_argument("--data", nargs="*", default=["auto"], choices=DATA, help="edgekit's qnn.activation")
    parser.add_argument("--rounding", default="nearest", choices=("nearest", "adaround"), help="edgekit's")
    parser.add_argument("--peer", nargs="*", default=PEERS, choices=PEERS, help="data of the peer's graphs")
    chosen = parser.parse_args()
    rows: list[list[object]] = []
    for name in chosen.models or MODELS:
        for row in measure(name, chosen):
            print(*row, sep=" | ", flush=True)
            rows.append(row)
    print_table("HTP graphs executed on the host", HEADER, rows)


if __name__ == "__main__" and not serve_job(JOBS):
    main()
