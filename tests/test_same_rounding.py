"""Weights rounded by AdaRound: each runtime's file holds the very integers, read with its own reader.

Of a context for the Hexagon NPU no reader is public; tests/targets/test_qnn.py compares what it computes.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import edgekit
from edgekit.errors import UsageError
from edgekit.targets.litert.artifact_macs import read_file
from tests.converted import JETSON, run
from tests.qdq.qdq_nets import net, node, normal
from tests.targets.coreml_models import read_back
from tests.targets.ort_mobile_models import onnxruntime_graph

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Codes = dict[str, NDArray[np.int8]]  # by layer, [outputs, ...] as ONNX has them

CONV, FC = (16, 8, 3, 3), (10, 256)
TARGETS = (JETSON, "ort-mobile", "litert", "iphone", "openvino")


def make_workspace(folder: Path) -> Path:
    """`m.onnx` (a convolution and a product) and 32 samples whose channels go together."""
    nodes = [
        node("Conv", ["x", "conv"], ["a"], "conv", strides=[2, 2]),
        node("Relu", ["a"], ["b"], "relu"),
        node("Flatten", ["b"], ["d"], "flatten"),
        node("Gemm", ["d", "fc"], ["y"], "fc", transB=1),
    ]
    weights = {"conv": normal(*CONV, seed=4), "fc": normal(*FC, seed=5)}
    (folder / "m.onnx").write_bytes(net(nodes, {"x": (1, 8, 9, 9)}, ["y"], weights).SerializeToString())
    (folder / "data").mkdir()
    rng = np.random.default_rng(3)
    mix = rng.standard_normal((8, 8)) + 1
    for index in range(32):
        sample = np.einsum("nchw,cd->ndhw", rng.standard_normal((1, 8, 9, 9)) + 1, mix)
        np.savez(folder / "data" / f"{index:02d}.npz", x=sample.astype(np.float32))
    return folder


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Path]]:
    """Rounding -> target -> the bundle's folder."""
    work = make_workspace(tmp_path_factory.mktemp("rounding"))
    made = {}
    for rounding in ("nearest", "adaround"):
        result = edgekit.convert(
            work / "m.onnx",
            targets=TARGETS,
            samples=work / "data",
            precisions="int8",
            scheme="portable",
            rounding=rounding,
            output=work / rounding,
            cache="off",
        )
        assert result.passed
        folders = (bundle.folder for bundle in result.bundles)
        made[rounding] = dict(zip(TARGETS, folders, strict=True))
    return made


def by_shape(found: list[NDArray[Any]], turned: tuple[int, ...] = (0, 1, 2, 3)) -> Codes:
    """The convolution's and the product's; `turned`: the axes of a convolution's in ONNX's order."""
    (conv,) = [array for array in found if array.ndim == 4 and array.transpose(turned).shape == CONV]
    (fc,) = [array for array in found if array.shape in (FC, FC[::-1])]
    return {"conv": conv.transpose(turned), "fc": fc if fc.shape == FC else fc.T}


def from_tensorrt(folder: Path) -> Codes:
    graph = onnx.load(folder / "model.int8.onnx").graph
    return by_shape([numpy_helper.to_array(one) for one in graph.initializer if one.data_type == 3])


def from_onnxruntime(folder: Path) -> Codes:
    graph = onnxruntime_graph((folder / "model.int8.ort").read_bytes())
    tensors = [graph.Initializers(index) for index in range(graph.InitializersLength())]
    return by_shape(
        [
            np.asarray(one.RawDataAsNumpy(), np.uint8).view(np.int8).reshape(one.DimsAsNumpy())
            for one in tensors
            if one.DataType() == 3 and one.DimsLength() > 1
        ]
    )


def from_litert(folder: Path) -> Codes:
    schema, file = read_file((folder / "model.int8.tflite").read_bytes())
    held = []
    for one in file.subgraphs[0].tensors:
        data = file.buffers[one.buffer].data
        if one.type == schema.TensorType.INT8 and data is not None:
            held.append(np.asarray(data, np.uint8).view(np.int8).reshape(one.shape))
    return by_shape(held, (0, 3, 1, 2))


def from_coreml(folder: Path) -> Codes:
    saved = read_back(folder / "model.int8.mlpackage")
    kinds = {"constexpr_affine_dequantize": "quantized_data", "constexpr_blockwise_shift_scale": "data"}
    return by_shape(
        [np.asarray(saved.value(one, kinds[one.type])) for one in saved.operations if one.type in kinds]
    )


def from_openvino(folder: Path) -> Codes:
    data = (folder / "model.int8.bin").read_bytes()
    held = []
    for one in ElementTree.parse(folder / "model.int8.xml").iter("data"):
        if one.get("element_type") == "i8":
            start, size = int(one.attrib["offset"]), int(one.attrib["size"])
            shape = [int(dim) for dim in one.attrib["shape"].split(",") if dim.strip()]
            held.append(np.frombuffer(data, np.int8, size, start).reshape(shape))
    return by_shape(held)


READERS = {
    JETSON: from_tensorrt,
    "ort-mobile": from_onnxruntime,
    "litert": from_litert,
    "iphone": from_coreml,
    "openvino": from_openvino,
}


def test_five_runtimes_hold_the_same_integers_next_to_the_nearest(
    bundles: dict[str, dict[str, Path]],
) -> None:
    chosen = {target: READERS[target](folder) for target, folder in bundles["adaround"].items()}
    nearest = from_tensorrt(bundles["nearest"][JETSON])
    for layer, codes in chosen[JETSON].items():
        apart = codes.astype(int) - nearest[layer]
        assert 0 < np.abs(apart).max() <= 1
        assert np.abs(codes.astype(int)).max() <= 127
        for target, held in chosen.items():
            assert np.array_equal(held[layer], codes), (target, layer)


def test_the_bundle_names_the_rounding_and_the_scales_stay(bundles: dict[str, dict[str, Path]]) -> None:
    for target, folder in bundles["adaround"].items():
        nodes = json.loads((folder / "decisions.json").read_text())["nodes"]
        reasons = {one["node"]: one["reason"] for one in nodes}
        assert "weights rounded by AdaRound" in reasons["conv"]
        assert "weights rounded by AdaRound" in reasons["fc"]
        assert "AdaRound" not in reasons["relu"]
        notes = json.loads((folder / "manifest.json").read_text())["notes"]
        assert [note.startswith("AdaRound: the weights of 2 of 2") for note in notes].count(True) == 1
        plain = bundles["nearest"][target]
        assert (plain / "scales.json").read_bytes() == (folder / "scales.json").read_bytes()
        assert "AdaRound" not in (plain / "decisions.json").read_text()


def test_another_rounding_is_another_bundle_of_the_cache(tmp_path: Path) -> None:
    work = make_workspace(tmp_path)
    digests = []
    for rounding in ("nearest", "adaround", "nearest", "adaround"):
        result = run(
            *("convert", work / "m.onnx", "-t", "ort-mobile", "--samples", work / "data"),
            *("--rounding", rounding, "-o", work / "out", "--overwrite"),
        )
        assert result.exit_code == 0, result.output
        manifest = json.loads((work / "out" / "generic-ort-mobile" / "manifest.json").read_text())
        digests.append(json.dumps(manifest["files"], sort_keys=True))
    assert digests[:2] == digests[2:]
    assert digests[0] != digests[1]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rounding": "adarond"}, "did you mean 'adaround'"),
        ({"samples": "random"}, "random ones say nothing"),
        ({"limit": 7}, "7 are too few"),
        ({"precisions": "w8"}, "w8 and w4 take --weights"),
        ({"samples": None}, "is about the weights of INT8, and there is none"),
    ],
)
def test_what_adaround_cannot_do_is_refused(options: dict[str, Any], words: str, tmp_path: Path) -> None:
    work = make_workspace(tmp_path)
    given = {"rounding": "adaround", "samples": work / "data", "output": work / "out", **options}
    with pytest.raises(UsageError) as refused:
        edgekit.convert(work / "m.onnx", targets="ort-mobile", cache="off", **given)
    assert words in f"{refused.value} {refused.value.fix}"
    assert not (work / "out").exists()
