"""What LiteRT's int8 files lose on top of their Q/DQ graph: every model, XNNPACK and the reference kernels.

    python -m benchmarks.litert_int8 [MODEL ...] [--reference-kernels]          (2 minutes; 10 with them)

The Q/DQ graph runs in ONNX Runtime with its graph optimizations off. SQNR is over all test samples of
one output, the worst output counts; `step` is the graph's own figure less the file's, at most 1 dB. Behind
it between which ends 90 % of it lie as the samples are drawn anew: what lies beyond 1 dB with both is told.
Operators are read back from the file: `int8` make int8 and `float` make float32, less QUANTIZE and
DEQUANTIZE of activations, which are counted apart; weights restored once at loading are neither.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.litert_models import MODELS, BenchModel, load_samples
from benchmarks.measure import print_table
from benchmarks.step_interval import step_interval

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from benchmarks.litert_models import Feed, Part
    from edgekit._qdq import QdqResult
    from edgekit._workshop import Workshop

    Outputs = Mapping[str, np.ndarray[Any, Any]]

ALLOWED_DB = 1.0
_LINEAR = ("QUANTIZE", "DEQUANTIZE")


def _frames(part: Part, count: int) -> Iterator[Feed]:
    """A voice-like sound at 16 kHz in frames, each with the state behind the one before."""
    from benchmarks.peers import open_reference

    rng = np.random.default_rng({"calibration": 1, "test": 2}[part])
    session = open_reference(SILERO.find())
    time = np.arange(count * 512 + 64) / 16000
    pitch = 120 + 40 * np.sin(2 * np.pi * 3 * time + rng.uniform(0, 6))
    phase = 2 * np.pi * np.cumsum(pitch) / 16000
    voiced = (np.sin(2 * np.pi * 1.3 * time) > -0.3) * (0.1 + 0.2 * np.abs(np.sin(2 * np.pi * 4 * time)))
    wave = sum(np.sin(phase * n) / n for n in range(1, 12)) * voiced + rng.normal(0, 0.003, time.size)
    state = np.zeros((2, 1, 128), np.float32)
    for index in range(count):
        feed = {"input": wave[None, index * 512 : index * 512 + 576].astype(np.float32), "state": state}
        yield dict(feed)
        found: Any = session.run(None, {**feed, "sr": np.array(16000, np.int64)})
        state = found[1]


def _files(part: Part, count: int) -> Iterator[Feed]:
    """First and last 1024 bytes of files of many kinds: those beside the onnx package, a few a suffix."""
    import onnx

    kinds: dict[str, list[Path]] = {}
    for path in sorted(Path(onnx.__file__).parents[1].rglob("*.*")):
        if path.is_file() and path.stat().st_size > 200:
            kinds.setdefault(path.suffix, []).append(path)
    first = 0 if part == "calibration" else 1
    mixed = [path for kind in sorted(kinds) for path in kinds[kind][first::7][:4]]
    np.random.default_rng(1).shuffle(mixed)
    for path in mixed[:count]:
        content = np.frombuffer(path.read_bytes(), np.uint8)
        values = np.full((1, 2048), 256, np.int32)
        head, tail = content[:1024], content[-1024:]
        values[0, : head.size], values[0, 2048 - tail.size :] = head, tail
        yield {"bytes": values}


SILERO = BenchModel(
    "silero_vad", "data/silero_vad_16k_op15.onnx", {"input": "1,576", "state": "2,1,128"}, _frames, 64, 64
)
ALL = {
    **{name: model for name, model in MODELS.items() if not model.light},
    "magika": replace(MODELS["magika"], samples=_files, test=64),
    "silero": SILERO,
}
BIND = {"silero": {"sr": "16000"}}


def measure(name: str, kernels: Sequence[str]) -> list[tuple[object, ...]]:
    """A row a kind of kernels."""
    from edgekit._values import Device
    from edgekit._verify import reference_session
    from edgekit.target import Job
    from edgekit.targets.litert import LiteRT

    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        shop, quantized, feeds = prepare(name, work)
        device = Device("generic-litert", "", "litert", "", {})
        (artifact,) = LiteRT().build([quantized.component], Job(device, "int8"), work)
        truth = [shop.expected.run(feed) for feed in feeds]
        graph = reference_session(quantized.component.model)
        intended = [graph.run(feed) for feed in feeds]
        own = worst_sqnr(truth, intended)
        counts, size = count_kinds(work / artifact.main), (work / artifact.main).stat().st_size // 1024
        assert artifact.macs is not None
        rows: list[tuple[object, ...]] = []
        for kind in kernels:
            got = run_file(work / artifact.main, kind, feeds)
            made = worst_sqnr(truth, got)
            step, agreed = own - made, agreement(truth, got)
            low, high = judge_step(truth, intended, got)
            told = f"{step:+.2f} [{low:.2f}, {high:.2f}]{'' if low <= ALLOWED_DB else ' MORE THAN 1 dB'}"
            rows.append((name, kind, own, made, told, agreed, f"{artifact.macs.share:.4f}",
                         size, *counts))  # fmt: skip
        return rows


def prepare(name: str, work: Path) -> tuple[Workshop, QdqResult, list[Feed]]:
    """The calibrated model, its Q/DQ graph as a convert for LiteRT makes it, and the test samples."""
    from edgekit._cache import open_cache
    from edgekit._choose_form import choose_form
    from edgekit._plan import resolve_all
    from edgekit._recipe import Recipe
    from edgekit._workshop import Workshop
    from edgekit.sources.bound_file import load_bound

    model = ALL[name]
    parts: tuple[tuple[Part, int], ...] = (("calibration", model.calibration), ("test", model.test))
    for part, count in parts:
        save_feeds(model.samples(part, count), work / part)
    recipe = Recipe.of(
        model.find(),
        targets=["litert"],
        samples=work / "calibration",
        shapes=model.shapes,
        bind=BIND.get(name, {}),
        cache="off",
    )
    (target,) = targets = resolve_all(recipe)
    with open_cache(recipe.cache) as cache:
        source = load_bound(recipe.model, recipe.bind)
        shop = Workshop(recipe, source, targets, cache, lambda *_: None)
        chosen = choose_form(shop, shop.plan(target), "portable")
    if chosen.note:
        print(f"{name}: {chosen.note}")
    return shop, chosen.result, load_samples(work / "test")


def save_feeds(feeds: Iterable[Feed], folder: Path) -> None:
    """A file a sample, as `load_samples` reads them."""
    folder.mkdir()
    for index, feed in enumerate(feeds):
        np.savez(folder / f"{index:04d}.npz", allow_pickle=False, **feed)


def run_file(path: Path, kind: str, feeds: Sequence[Feed]) -> list[Outputs]:
    """The file's outputs by name, a sample at a time."""
    from edgekit.targets.litert.session import LiteRTSession

    session = LiteRTSession(path, "reference" if kind == "reference" else "xnnpack")
    return [{key: np.array(value) for key, value in session.run(feed).items()} for feed in feeds]


def worst_sqnr(truth: Sequence[Outputs], got: Sequence[Outputs]) -> float:
    """dB of the worst output."""
    from benchmarks.peers import measure_sqnr

    return min(
        measure_sqnr([item[name] for item in truth], [item[name] for item in got]) for name in truth[0]
    )


def judge_step(
    truth: Sequence[Outputs], graph: Sequence[Outputs], got: Sequence[Outputs]
) -> tuple[float, float]:
    """90 % of how much louder the file's noise is than its graph's, dB, on the file's worst output."""

    def energies(name: str, other: Sequence[Outputs]) -> list[float]:
        pairs = zip(truth, other, strict=True)
        return [float(np.sum(np.square(want[name].astype(float) - made[name]))) for want, made in pairs]

    def share(name: str) -> float:
        signal = sum(float(np.sum(np.square(want[name].astype(float)))) for want in truth)
        return sum(energies(name, got)) / max(signal, 1e-30)

    worst = max(truth[0], key=share)
    return step_interval(energies(worst, graph), energies(worst, got))


def agreement(truth: Sequence[Outputs], got: Sequence[Outputs]) -> str:
    """Share of rows of the first output with the same largest entry, where rows have several."""
    name = next(iter(truth[0]))
    if truth[0][name].ndim < 2 or truth[0][name].shape[-1] < 2 or truth[0][name].ndim == 4:
        return "-"
    same = [
        np.mean(one[name].argmax(-1) == other[name].argmax(-1)) for one, other in zip(truth, got, strict=True)
    ]
    return f"{np.mean(same):.3f}"


def count_kinds(path: Path) -> tuple[int, int, int, int]:
    """(int8 operators, float ones, QUANTIZE and DEQUANTIZE of activations, transposes)."""
    from benchmarks.tflite_files import TFLiteFile

    file = TFLiteFile(path, delegates=False)
    tensors = {item["index"]: item for item in file.interpreter.get_tensor_details()}
    made: set[int] = {item["index"] for item in file.interpreter.get_input_details()}
    int8 = floats = borders = transposes = 0
    for operator in file.interpreter._get_ops_details():
        made.update(operator["outputs"])
        result = tensors[operator["outputs"][0]]["dtype"]
        if operator["op_name"] in _LINEAR:
            borders += operator["inputs"][0] in made
            continue
        int8 += result == np.int8
        floats += result == np.float32
        transposes += operator["op_name"] == "TRANSPOSE"
    return int8, floats, borders, transposes


def main() -> None:
    """One table over the models asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL", help=", ".join(ALL))
    parser.add_argument("--reference-kernels", action="store_true")
    options = parser.parse_args()
    kernels = ["xnnpack", *(["reference"] if options.reference_kernels else [])]
    unknown = set(options.models) - set(ALL)
    if unknown:
        parser.error(f"no such model: {', '.join(sorted(unknown))}; there are {', '.join(ALL)}")
    rows = [row for name in options.models or ALL for row in measure(name, kernels)]
    header = ("model", "kernels", "graph dB", "file dB", "step", "top-1", "MACs int8", "KB", "int8 ops",
              "float ops", "Q+DQ", "transposes")  # fmt: skip
    print_table("LiteRT int8 against fp32", header, rows)


if __name__ == "__main__":
    main()
