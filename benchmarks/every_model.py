"""Every model of the project on LiteRT and Core ML: parity of its files, or the words it is refused with.

    python -m benchmarks.every_model [NAME ...] [--target NAME] [--again] [--write]     (an hour; goes on
                                                                                         where it stopped)

Each row is one `edgekit convert` to one target in a process of its own, then a look of this file's own at
the bundle: every artifact runs on the sealed golden samples (four), whose expected values ONNX Runtime gave.
`error` is the largest one over the largest true value, of fp32; `int8 loss` is how many dB further from
fp32 the int8 file lies than its Q/DQ graph, the worst output. Calibrated on what litert_models.py has
for the model, else on noise: those figures are of the lowering, never of accuracy. Core ML programs are
evaluated in edgekit's MIL interpreter; Apple's compiler and hardware have seen none of them.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.measure import Jobs, print_table, run_job, serve_job

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from edgekit._bundle.read import Bundle
    from edgekit._values import Artifact

    Feed = dict[str, np.ndarray]

NAME = "benchmarks.every_model"
KEPT = Path.home() / ".cache" / "edgekit-benchmarks" / "every-model.jsonl"
PAGE = Path(__file__).parents[1] / "docs" / "models.md"
TARGETS = ("litert", "coreml")
HEADER = ("model", "target", "fp32 error", "int8 loss dB", "int8 SQNR dB", "MACs in int8", "below the gate")
TORCH = ("efficientnet_lite0", "bert", "vit", "convnext", "mobilenet_v2", "segformer", "wav2vec2",
         "whisper_encoder")  # fmt: skip
LIGHT = ("squeezenet", "shufflenet", "inception_v1", "inception_v2", "densenet121", "resnet50", "zfnet512",
         "bvlc_alexnet", "vgg19")  # fmt: skip
NOISES = 8


@dataclass(frozen=True)
class Source:
    """What `convert` takes: a file, the shapes to fix, the inputs that never change."""

    model: str
    shapes: dict[str, str] = field(default_factory=dict)
    bind: dict[str, str] = field(default_factory=dict)


def list_names() -> list[str]:
    """Package models, torch models (EfficientNet by both exporters), onnx's light ones."""
    from tests.models import PACKAGE_MODELS

    return [*PACKAGE_MODELS, *TORCH, "efficientnet_lite0-legacy", *(f"{name}-light" for name in LIGHT)]


def find_source(name: str, work: Path) -> Source:
    """Where a model lies; light ones and the legacy export are written into `work`."""
    from benchmarks.litert_int8 import ALL
    from tests.models import PACKAGE_MODELS, QUICK_SHAPES, package_model

    if name in PACKAGE_MODELS:
        shapes = dict(QUICK_SHAPES[name])
        bind = {"sr": "16000"} if shapes.pop("sr", None) is not None else {}
        quick = {key: ",".join(map(str, dims)) for key, dims in shapes.items()}
        return Source(str(package_model(name)), ALL[name].shapes if name in ALL else quick, bind)
    if name in TORCH:
        return _export(name, work)
    return _write_legacy(work) if name.endswith("-legacy") else _write_light(name, work)


def _export(name: str, work: Path) -> Source:
    """As edgekit exports it."""
    import edgekit

    edgekit.export(f"benchmarks.torch_models:{name}", work / "export")
    (file,) = (work / "export").rglob("*.onnx")
    return Source(str(file))


def _write_legacy(work: Path) -> Source:
    import torch

    from benchmarks.torch_models import efficientnet_lite0

    model, inputs = efficientnet_lite0()
    file = str(work / "legacy.onnx")
    torch.onnx.export(model, tuple(inputs.values()), file, input_names=["x"], dynamo=False, opset_version=17)
    return Source(file, {"x": "1,3,224,224"})


def _write_light(name: str, work: Path) -> Source:
    import onnx_ir as ir

    from benchmarks.litert_models import prepare_source, randomize_weights

    folder = Path(ir.__file__).parents[1] / "onnx" / "backend" / "test" / "data" / "light"
    prepared = prepare_source(folder / f"light_{name.removesuffix('-light')}.onnx", {})
    randomize_weights(prepared)
    ir.save(prepared, work / "light.onnx")
    return Source(str(work / "light.onnx"))


def write_samples(name: str, source: Source, folder: Path) -> None:
    """The model's own calibration samples at its shapes where there are any, else noise."""
    from benchmarks.litert_int8 import ALL

    known = ALL.get(name)
    own = known is not None and known.shapes == source.shapes
    feeds = known.samples("calibration", NOISES) if known is not None and own else noise(source)
    folder.mkdir()
    for index, feed in enumerate(feeds):
        np.savez(folder / f"{index}.npz", allow_pickle=False, **feed)


def noise(source: Source) -> Iterator[Feed]:
    """Seeded normal values, and integers below 100, for every input that the model has."""
    import edgekit

    rng = np.random.default_rng(7)
    inputs = edgekit.inspect(source.model, source.shapes or None).inputs
    given = {key: text.split(",") for key, text in source.shapes.items()}
    sizes = {item.name: tuple(map(int, given.get(item.name, map(str, item.shape)))) for item in inputs
             if item.name not in source.bind}  # fmt: skip
    for _ in range(NOISES):
        yield {
            item.name: rng.standard_normal(sizes[item.name]).astype(np.float32)
            if item.dtype == "float32"
            else rng.integers(0, 100, sizes[item.name]).astype(item.dtype)
            for item in inputs
            if item.name in sizes
        }


def convert(name: str, target: str, work: str) -> list[object]:
    """One row without its name; of a refusal the words."""
    import edgekit
    from edgekit.errors import EdgekitError

    folder = Path(work) / target
    folder.mkdir()
    source = find_source(name, folder)
    write_samples(name, source, folder / "samples")
    try:
        result = edgekit.convert(
            source.model,
            targets=target,
            precisions=("int8", "fp32"),
            samples=folder / "samples",
            shapes=source.shapes or None,
            bind=source.bind,
            output=folder / "out",
            cache="off",
        )
    except EdgekitError as error:
        return ["", "", "", "", f"refused: {error}"]
    missed = [line for parity in result.bundles[0].parities for line in parity.gate_failures]
    more = [f"{len(missed) - 1} more"] if len(missed) > 1 else []
    return [*look_at(result.bundles[0].folder), "; ".join(missed[:1] + more)]


def look_at(folder: Path) -> list[object]:
    """fp32 error, int8 loss, int8 SQNR and the share of MACs in int8, of one bundle."""
    from edgekit._bundle import open_bundle

    with open_bundle(folder) as bundle:
        found = {item.variant: item for item in bundle.artifacts}
        (_, error) = compare(bundle, found["fp32"])
        by_graph, by_file = compare_int8(bundle, found["int8"])
    macs = found["int8"].macs
    share = "" if macs is None else f"{macs.share:.3f}"
    worst = max(by_graph, key=lambda output: by_graph[output] - by_file[output])
    return [f"{error:.0e}", f"{by_graph[worst] - by_file[worst]:.1f}", f"{by_file[worst]:.1f}", share]


def compare(bundle: Bundle, artifact: Artifact) -> tuple[dict[str, list[np.ndarray]], float]:
    """(outputs of every golden sample, the largest error over the largest true value)."""
    from edgekit.registry import resolve_target

    session = resolve_target(bundle.target).target.open(artifact, bundle.folder)
    made: dict[str, list[np.ndarray]] = {}
    for sample in bundle.golden(artifact.component).samples:
        for output, value in session.run(sample.feeds).items():
            made.setdefault(output, []).append(np.array(value, np.float64))
    truth = _expected(bundle, artifact.component, "fp32")
    errors = [
        max(float(np.abs(a - b).max()) for a, b in zip(made[key], true, strict=True))
        / max(*(float(np.abs(item).max()) for item in true), 1e-30)
        for key, true in truth.items()
    ]
    return made, max(errors)


def compare_int8(bundle: Bundle, artifact: Artifact) -> tuple[dict[str, float], dict[str, float]]:
    """SQNR against fp32 by output, dB: of the Q/DQ graph, and of the file."""
    truth = _expected(bundle, artifact.component, "fp32")
    graph = _expected(bundle, artifact.component, "reference")
    made, _ = compare(bundle, artifact)
    return _sqnr(truth, graph), _sqnr(truth, made)


def _expected(bundle: Bundle, component: str, kind: str) -> dict[str, list[np.ndarray]]:
    samples = bundle.golden(component).samples
    first = getattr(samples[0], kind)
    return {key: [np.array(getattr(item, kind)[key], np.float64) for item in samples] for key in first}


def _sqnr(truth: Mapping[str, list[np.ndarray]], made: Mapping[str, list[np.ndarray]]) -> dict[str, float]:
    found = {}
    for key, true in truth.items():
        signal = sum(float(np.square(item).sum()) for item in true)
        error = sum(float(np.square(a - b).sum()) for a, b in zip(true, made[key], strict=True))
        found[key] = 10 * np.log10(max(signal, 1e-30) / max(error, 1e-30))
    return found


JOBS: Jobs = {"convert": convert}


def measure(names: list[str], targets: Sequence[str], *, again: bool) -> list[list[object]]:
    """The rows of these models on `targets`, and what earlier runs left of the others."""
    lines = KEPT.read_text(encoding="utf-8").splitlines() if KEPT.exists() and not again else []
    rows = {tuple(row[:2]): row for row in map(json.loads, lines)}
    KEPT.parent.mkdir(parents=True, exist_ok=True)
    with KEPT.open("w" if again else "a", encoding="utf-8") as kept:
        for name in names:
            for target in targets:
                if (name, target) not in rows:
                    rows[name, target] = [name, target, *_run(name, target)]
                    print(json.dumps(rows[name, target]), file=kept, flush=True)
    return [rows[name, target] for name in names for target in TARGETS if (name, target) in rows]


def _run(name: str, target: str) -> list[object]:
    with tempfile.TemporaryDirectory() as work:
        try:
            return list(run_job(NAME, "convert", name, target, work).result)
        except SystemExit as failed:
            return ["", "", "", "", f"FAILED: {str(failed).splitlines()[-1][:200]}"]


def main() -> None:
    """One table."""
    if serve_job(JOBS):
        return
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", default=[])
    parser.add_argument("--target", choices=TARGETS, help="this one only")
    parser.add_argument("--again", action="store_true", help="forget earlier runs")
    parser.add_argument("--write", action="store_true", help="into docs/models.md")
    options = parser.parse_args()
    targets = [options.target] if options.target else TARGETS
    rows = measure(options.names or list_names(), targets, again=options.again)
    print_table("Every model", HEADER, rows)
    if options.write:
        from benchmarks.quote import quote_table

        quote_table(PAGE, "every_model", HEADER, rows)


if __name__ == "__main__":
    main()
