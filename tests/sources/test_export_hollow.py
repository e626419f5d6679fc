"""Graphs of which a few layers were exported and the rest copied, beside torch's export of the whole."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import onnx
import onnx_ir as ir
import pytest
import torch
from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

from edgekit.sources.export_hollow import export_hollow
from edgekit.sources.export_torch import export_torch
from edgekit.sources.hf_decoder import DecoderForm, decoder_components
from edgekit.sources.repeated_layers import RepeatedLayers
from edgekit.sources.shape_only import forget_values
from edgekit.sources.torch_component import DynamicDim, TorchComponent
from edgekit.sources.weightless import fill_hollow, without_weights
from tests.sources import hf_models

if TYPE_CHECKING:
    from collections.abc import Callable

COUNT = 6
_SYMBOL = re.compile(r"\bs\d+\b")  # torch numbers an open dim inside a graph by its place among the inputs


def export_whole(component: TorchComponent) -> ir.Model:
    model = export_torch(component, "whole", shape_only=True)
    forget_values(model)
    return model


def copied(model: ir.Model) -> int:
    return sum("/" in (node.name or "") for node in model.graph)


class Numbered:
    """A model's file in words, each value called by the node and place that makes it."""

    def __init__(self, model: ir.Model) -> None:
        self.proto = ir.to_proto(model)
        graph = self.proto.graph
        self.names = {value.name: f"input {value.name}" for value in graph.input}
        self.names |= {tensor.name: self.say_weight(tensor) for tensor in graph.initializer}
        for place, node in enumerate(graph.node):
            self.names |= {name: f"node {place} output {number}" for number, name in enumerate(node.output)}
        self.shapes = {value.name: self.say_type(value) for value in (*graph.value_info, *graph.output)}

    @staticmethod
    def say_weight(tensor: onnx.TensorProto) -> str:
        told = onnx.TensorProto()
        told.CopyFrom(tensor)
        told.ClearField("name")
        return str(told)

    @staticmethod
    def say_type(value: onnx.ValueInfoProto) -> str:
        return _SYMBOL.sub("s", str(value.type))

    @staticmethod
    def say_read(op: str, source: str) -> str:
        """All caches have one length, and which of them torch reads it from is an accident of its symbols."""
        return re.sub(r"^(input past_\w+?)_\d+$", r"\1", source) if op == "Shape" else source

    def nodes(self) -> list[Any]:
        return [
            (
                node.domain,
                node.op_type,
                [self.say_read(node.op_type, self.names.get(name, name)) for name in node.input],
                [str(attribute) for attribute in node.attribute],
                [self.shapes.get(name) for name in node.output],
            )
            for node in self.proto.graph.node
        ]

    def ends(self) -> list[Any]:
        graph = self.proto.graph
        return [
            [(value.name, self.say_type(value)) for value in graph.input],
            [(value.name, self.names[value.name], self.say_type(value)) for value in graph.output],
        ]


@pytest.fixture(scope="module")
def decoder() -> dict[str, TorchComponent]:
    """A decoder of six layers without weights, DeepStack features behind the first one."""
    text = {**hf_models.TEXT, "num_hidden_layers": COUNT, "rope_scaling": hf_models.MROPE}
    vision = {"depth": 1, "hidden_size": 16, "num_heads": 2, "intermediate_size": 16, "out_hidden_size": 64}
    with without_weights():
        module: Any = Qwen3VLForConditionalGeneration(Qwen3VLConfig(text_config=text, vision_config=vision))
    fill_hollow([module])
    return decoder_components(module.eval(), DecoderForm("embeds", deepstack=1))


@pytest.mark.parametrize("name", ["prefill", "decode"])
def test_copied_layers_are_what_torch_exports_node_by_node(
    name: str, decoder: dict[str, TorchComponent]
) -> None:
    short, whole = export_hollow(decoder[name], name), export_whole(decoder[name])
    assert copied(short) > 60
    assert copied(whole) == 0
    got, want = Numbered(short), Numbered(whole)
    assert got.nodes() == want.nodes()
    assert got.ends() == want.ends()
    weights = {initializer.name for initializer in want.proto.graph.initializer}
    assert len(got.proto.graph.initializer) == len(weights)
    plain = {one for one in weights if one.startswith("body.layers.")}
    assert plain <= {initializer.name for initializer in got.proto.graph.initializer}


class Block(torch.nn.Module):
    def __init__(self, width: int = 8, scale: float = 2.0) -> None:
        super().__init__()
        self.up, self.down = torch.nn.Linear(4, width), torch.nn.Linear(width, 4)
        self.scale = scale

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        changed: torch.Tensor = self.down(self.up(hidden).relu())
        return hidden + changed * self.scale


class Stack(torch.nn.Module):
    """Blocks in a row; `skip` adds what came out so many blocks before."""

    def __init__(self, blocks: list[Block], skip: int = 0, tapped: int = -1) -> None:
        super().__init__()
        self.blocks = torch.nn.ModuleList(blocks)
        self.skip, self.tapped = skip, tapped

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = [x]
        for number, block in enumerate(self.blocks):
            hidden = block(out[-1])
            if self.skip and len(out) > self.skip:
                hidden = hidden + out[-self.skip]
            out.append(hidden.tanh() if number == self.tapped else hidden)
        return out[-1].mean(-1)


def component(stack: Stack) -> TorchComponent:
    def shorten(count: int) -> TorchComponent:
        return component(Stack(list(stack.blocks)[:count], stack.skip, stack.tapped))  # type: ignore[arg-type]

    layers = RepeatedLayers(len(stack.blocks), "blocks", 0, (), (), shorten)
    inputs = {"x": torch.zeros(2, 4)}
    return TorchComponent(stack, inputs, {"x": {0: DynamicDim("rows")}}, ("y",), layers=layers)


def blocks(**odd: Any) -> list[Block]:
    return [Block(**odd) if number == COUNT - 2 else Block() for number in range(COUNT)]


STACKS: dict[str, tuple[Callable[[], Stack], bool]] = {
    "alike": (lambda: Stack(blocks()), True),
    "one with another number": (lambda: Stack(blocks(scale=3.0)), False),
    "one that is treated otherwise": (lambda: Stack(blocks(), tapped=COUNT - 2), False),
    "the last one treated otherwise": (lambda: Stack(blocks(), tapped=COUNT - 1), False),
    "reading two layers back": (lambda: Stack(blocks(), skip=3), False),
}


@pytest.mark.parametrize("name", STACKS)
def test_layers_that_are_not_alike_are_exported_whole(name: str) -> None:
    build, alike = STACKS[name]
    with without_weights():
        stack = build()
    fill_hollow([stack])
    whole = component(stack.eval())
    made = export_hollow(whole, name)
    assert bool(copied(made)) == alike
    got, want = Numbered(made), Numbered(export_whole(whole))
    assert (got.nodes(), got.ends()) == (want.nodes(), want.ends())


def test_a_layer_used_twice_is_exported_whole() -> None:
    with without_weights():
        stack = Stack(blocks())
    stack.blocks[4] = stack.blocks[1]
    fill_hollow([stack])
    whole = component(stack.eval())
    made = export_hollow(whole, "twice")
    assert Numbered(made).nodes() == Numbered(export_whole(whole)).nodes()
    assert copied(made) == 0


def test_weights_that_cannot_be_told_apart_are_exported_whole() -> None:
    """Only float32 has NaNs enough to number parameters with."""
    with without_weights():
        stack = Stack(blocks()).half()
    fill_hollow([stack])
    inputs = {"x": torch.zeros(2, 4, dtype=torch.float16)}
    made = export_hollow(
        TorchComponent(stack.eval(), inputs, {}, ("y",), layers=component(stack).layers), "half"
    )
    assert copied(made) == 0
