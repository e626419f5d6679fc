"""Qwen3-VL-2B drawn as ONNX from its published configuration: sizes are real, weights are holes in a file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import onnx
from onnx import TensorProto, helper

if TYPE_CHECKING:
    from pathlib import Path

# Text: 28 blocks, width 2048, 16 query and 8 key heads of 128, 6144 inside, 151,936 words.
BLOCKS, WIDTH, QUERIES, HEADS, HEAD, INNER, WORDS = 28, 2048, 16, 8, 128, 6144, 151_936
# Vision: 24 blocks, width 1024, 16 heads of 64, 4096 inside; 2 x 2 patches of 2 x 16 x 16 x 3 make a token.
DEPTH, SIDE, SIGHTS, WITHIN, PATCH, MERGE = 24, 1024, 16, 4096, 1536, 4
STACKED = 3  # DeepStack mergers beside the last one


@dataclass
class _Graph:
    """Nodes in order; each method adds one and returns its output's name."""

    path: Path
    nodes: list[Any] = field(default_factory=list)
    weights: list[Any] = field(default_factory=list)
    bytes: int = 0

    def add(self, op: str, *inputs: str, **attributes: Any) -> str:
        name = f"{op}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        return name

    def weight(self, *shape: int) -> str:
        """A hole of this size in the data file."""
        tensor = TensorProto(name=f"w{len(self.weights)}", data_type=TensorProto.FLOAT16, dims=shape)
        tensor.data_location = TensorProto.EXTERNAL
        size = 2
        for dim in shape:
            size *= dim
        for key, value in (("location", f"{self.path.name}.data"), ("offset", self.bytes), ("length", size)):
            tensor.external_data.add(key=key, value=str(value))
        self.bytes += size
        self.weights.append(tensor)
        return tensor.name

    def numbers(self, *values: int) -> str:
        name = f"n{len(self.weights)}"
        self.weights.append(helper.make_tensor(name, TensorProto.INT64, [len(values)], values))
        return name

    def product(self, data: str, rows: int, columns: int, *, bias: bool = False) -> str:
        made = self.add("MatMul", data, self.weight(rows, columns))
        return self.add("Add", made, self.weight(columns)) if bias else made

    def norm(self, data: str, size: int) -> str:
        return self.add("LayerNormalization", data, self.weight(size), axis=-1)

    def heads(self, data: str, count: int, size: int) -> str:
        """[1, n, count * size] as [1, count, n, size]."""
        parted = self.add("Reshape", data, self.numbers(1, -1, count, size))
        return self.add("Transpose", parted, perm=[0, 2, 1, 3])

    def save(self, inputs: dict[str, list[Any]], outputs: list[str], *, ids: tuple[str, ...] = ()) -> None:
        kinds = {name: TensorProto.INT64 if name in ids else TensorProto.FLOAT16 for name in inputs}
        rows = [helper.make_tensor_value_info(name, kinds[name], shape) for name, shape in inputs.items()]
        ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT16, None) for name in outputs]
        graph = helper.make_graph(self.nodes, self.path.stem, rows, ends, self.weights)
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]), self.path)
        with self.path.with_name(f"{self.path.name}.data").open("wb") as file:
            file.truncate(self.bytes)


def draw(folder: Path) -> None:
    """vision.onnx, embedding.onnx, prefill.onnx and decode.onnx."""
    _draw_vision(_Graph(folder / "vision.onnx"))
    table = _Graph(folder / "embedding.onnx")
    table.save({"ids": [1, "prompt"]}, [table.add("Gather", table.weight(WORDS, WIDTH), "ids")], ids=("ids",))
    _draw_prefill(_Graph(folder / "prefill.onnx"))
    _draw_decode(_Graph(folder / "decode.onnx"))


def _draw_vision(graph: _Graph) -> None:
    data = graph.product("patches", PATCH, SIDE, bias=True)
    places = graph.add("Gather", graph.weight(2304, SIDE), "places")
    data = graph.add("Add", data, places)
    for _ in range(DEPTH):
        seen = graph.norm(data, SIDE)
        query, key, value = (
            graph.heads(graph.product(seen, SIDE, SIDE, bias=True), SIGHTS, SIDE // SIGHTS) for _ in range(3)
        )
        seen = _attend(graph, query, key, value, SIDE)
        data = graph.add("Add", data, graph.product(seen, SIDE, SIDE, bias=True))
        inner = graph.add("Gelu", graph.product(graph.norm(data, SIDE), SIDE, WITHIN, bias=True))
        data = graph.add("Add", data, graph.product(inner, WITHIN, SIDE, bias=True))
    ends = []
    for _ in range(1 + STACKED):
        merged = graph.add("Reshape", graph.norm(data, SIDE), graph.numbers(1, -1, MERGE * SIDE))
        inner = graph.add("Gelu", graph.product(merged, MERGE * SIDE, MERGE * SIDE, bias=True))
        ends.append(graph.product(inner, MERGE * SIDE, WIDTH, bias=True))
    graph.save({"patches": [1, "patches", PATCH], "places": [1, "patches"]}, ends, ids=("places",))


def _attend(graph: _Graph, query: str, key: str, value: str, width: int) -> str:
    """Attention before its output product."""
    scores = graph.add("MatMul", query, graph.add("Transpose", key, perm=[0, 1, 3, 2]))
    summed = graph.add("MatMul", graph.add("Softmax", scores, axis=-1), value)
    joined = graph.add("Transpose", summed, perm=[0, 2, 1, 3])
    return graph.add("Reshape", joined, graph.numbers(1, -1, width))


def _block(graph: _Graph, data: str, past: tuple[str, str] | None = None) -> tuple[str, str, str]:
    """One text block; also its new keys and values. Two query heads share a key head."""
    seen = graph.norm(data, WIDTH)
    query = graph.heads(graph.product(seen, WIDTH, QUERIES * HEAD), QUERIES, HEAD)
    query = graph.add("Reshape", graph.norm(query, HEAD), graph.numbers(1, HEADS, -1, HEAD))
    key = graph.norm(graph.heads(graph.product(seen, WIDTH, HEADS * HEAD), HEADS, HEAD), HEAD)
    value = graph.heads(graph.product(seen, WIDTH, HEADS * HEAD), HEADS, HEAD)
    keys, values = key, value
    if past is not None:
        keys = graph.add("Concat", past[0], key, axis=2)
        values = graph.add("Concat", past[1], value, axis=2)
    seen = _attend(graph, query, keys, values, WIDTH)
    data = graph.add("Add", data, graph.product(seen, WIDTH, WIDTH))
    seen = graph.norm(data, WIDTH)
    gate = graph.product(seen, WIDTH, INNER)
    gate = graph.add("Mul", gate, graph.add("Sigmoid", gate))
    gate = graph.add("Mul", gate, graph.product(seen, WIDTH, INNER))
    return graph.add("Add", data, graph.product(gate, INNER, WIDTH)), key, value


def _draw_prefill(graph: _Graph) -> None:
    data, kept = "embeds", []
    for _ in range(BLOCKS):
        data, key, value = _block(graph, data)
        kept += [key, value]
    last = graph.add("Gather", graph.norm(data, WIDTH), graph.numbers(-1), axis=1)
    logits = graph.product(last, WIDTH, WORDS)
    graph.save({"embeds": [1, "prompt", WIDTH]}, [logits, *kept])


def _draw_decode(graph: _Graph) -> None:
    data, kept = "embeds", []
    inputs: dict[str, list[Any]] = {"embeds": [1, 1, WIDTH]}
    for block in range(BLOCKS):
        past = (f"past_key_{block}", f"past_value_{block}")
        inputs |= {name: [1, HEADS, "past", HEAD] for name in past}
        data, key, value = _block(graph, data, past)
        kept += [key, value]
    graph.save(inputs, [graph.product(graph.norm(data, WIDTH), WIDTH, WORDS), *kept])
