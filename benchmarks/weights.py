"""int4 weights on real models: round to nearest, HQQ and GPTQ, edgekit's and onnxruntime's own, side by side.

    python -m benchmarks.weights [--models minilm ppocr-rec magika] [--block 32]      (about 5 minutes)

Every method gets the same prepared ONNX file, the same 64 calibration samples and the constant MatMuls alone,
4 bits, symmetric. SQNR against fp32 is of the output over 100 other samples, in float32 arithmetic (edgekit:
the Q/DQ graph, onnxruntime: its MatMulNBits model). onnxruntime's HQQ needs torch and is left out without it.
"""

from __future__ import annotations

import argparse
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.measure import Jobs, print_table, run_job, serve_job

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = "benchmarks.weights"
CALIBRATION, TEST = 64, 100
MODELS = ("minilm", "ppocr-rec", "magika")
METHODS = ("edgekit rtn", "edgekit hqq", "edgekit gptq", "ort default", "ort rtn", "ort hqq", "ort gptq")


def samples_of(model: str, part: Any, count: int) -> Iterator[dict[str, Any]]:
    """Feeds of a model; the parts are `calibration` and `test`."""
    from benchmarks.litert_models import MODELS as OTHERS
    from benchmarks.minilm import sentences

    return sentences(part, count) if model == "minilm" else OTHERS[model].samples(part, count)


def write_source(model: str, work: str) -> None:
    """The prepared ONNX file that every method gets."""
    import onnx

    from benchmarks.litert_models import write_sources
    from benchmarks.minilm import write_minilm

    path = Path(work) / "model.onnx"
    if model == "minilm":
        write_minilm(path)
    else:
        _, prepared = write_sources(model, Path(work))
        onnx.save(onnx.load(prepared), path)


def place(work: str, method: str) -> Path:
    """Where a method's model goes."""
    return Path(work) / f"{method.replace(' ', '-')}.onnx"


def quantize(model: str, work: str, method: str, block: str) -> None:
    """Write the quantized model."""
    whose, how = method.split()
    write = _edgekit if whose == "edgekit" else _ort
    write(model, Path(work) / "model.onnx", place(work, method), (how, int(block)))


def _edgekit(model: str, source: Path, out: Path, chosen: tuple[Any, int]) -> None:
    import onnx_ir as ir

    from edgekit._qdq import WeightRounder, quantize_weights
    from edgekit._qdq.observe_products import Products
    from edgekit._schemes import WeightForm
    from edgekit._values import Component
    from edgekit.calibration.samples import Sample
    from edgekit.passes.serialize_model import save_model

    component = Component("model", ir.load(source), "0" * 64)
    seen = [Sample(str(i), feed) for i, feed in enumerate(samples_of(model, "calibration", CALIBRATION))]
    products = Products(component.model, seen) if chosen[0] == "gptq" else None
    rounder = WeightRounder(chosen[0], chosen[1], products)
    forms = [WeightForm("MatMul", 4, (chosen[1],))]
    save_model(quantize_weights(component, forms, precision="w4", rounder=rounder).component.model, out)


def _ort(model: str, source: Path, out: Path, chosen: tuple[str, int]) -> None:
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat
    from onnxruntime.quantization import matmul_nbits_quantizer as peer

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime ships no types
        def __init__(self) -> None:
            self.feeds = list(samples_of(model, "calibration", CALIBRATION))  # it is copied and read anew
            self.next = 0

        def get_next(self) -> Any:
            self.next += 1
            return self.feeds[self.next - 1] if self.next <= len(self.feeds) else None

        def rewind(self) -> None:
            self.next = 0

    method, block = chosen
    settings: Any = {
        "default": lambda: peer.DefaultWeightOnlyQuantConfig(block_size=block, is_symmetric=True),
        "rtn": peer.RTNWeightOnlyQuantConfig,
        "hqq": lambda: peer.HQQWeightOnlyQuantConfig(block_size=block),
        "gptq": lambda: peer.GPTQWeightOnlyQuantConfig(Reader(), block_size=block),
    }[method]()
    quantizer = peer.MatMulNBitsQuantizer(
        onnx.load(source),
        block_size=block,
        is_symmetric=True,
        accuracy_level=1,
        algo_config=settings,
        quant_format=QuantFormat.QOperator,
    )
    quantizer.process()
    made: Any = quantizer.model
    made.save_model_to_file(str(out))


def judge(model: str, work: str, path: str) -> dict[str, float]:
    """SQNR of all outputs over the test samples, and how many have the same argmax."""
    import numpy as np
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    exact, rounded = (ort.InferenceSession(str(file), options) for file in (Path(work) / "model.onnx", path))
    signal = noise = same = count = 0.0
    for feed in samples_of(model, "test", TEST):
        want, got = (np.asarray(session.run(None, feed)[0], np.float64) for session in (exact, rounded))
        signal, noise = signal + float((want**2).sum()), noise + float(((want - got) ** 2).sum())
        same += float((want.argmax(-1) == got.argmax(-1)).sum())
        count += want[..., 0].size
    return {"db": 10 * float(np.log10(signal / noise)), "same": same / count}


JOBS: Jobs = {"source": write_source, "quantize": quantize, "judge": judge}


def main() -> None:
    """Parse the command line and print one table a model."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", default=MODELS, choices=MODELS)
    parser.add_argument("--block", default=32, type=int)
    chosen = parser.parse_args()
    methods = [name for name in METHODS if name != "ort hqq" or find_spec("torch")]
    for model in chosen.models:
        with tempfile.TemporaryDirectory() as work:
            run_job(NAME, "source", model, work)
            rows: list[list[object]] = []
            for method in methods:
                try:
                    made = run_job(NAME, "quantize", model, work, method, chosen.block)
                except SystemExit as error:
                    rows.append([method, "-", "-", "-", "-", str(error).strip().splitlines()[-1][:60]])
                    continue
                path = place(work, method)
                score = run_job(NAME, "judge", model, work, path).result
                size = path.stat().st_size / 1e6
                rows.append([method, score["db"], 100 * score["same"], size, made.user_s, made.peak_mb])
            header = ["method", "SQNR dB", "same argmax %", "MB", "user CPU s", "peak MB"]
            print_table(f"{model}, int4 in blocks of {chosen.block}", header, rows)


if __name__ == "__main__" and not serve_job(JOBS):
    main()
