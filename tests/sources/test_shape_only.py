"""Architectures read without weights: the same counts as with them, and no made-up values anywhere."""

from __future__ import annotations

import json
import resource
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import onnx
import pytest
import torch
from click.testing import CliRunner
from transformers import Qwen3Config, Qwen3ForCausalLM

import edgekit
from edgekit.cli import main
from edgekit.errors import SourceError
from edgekit.sources.onnx_file import load_onnx
from edgekit.sources.shape_only import LOCATION
from tests.converted import run
from tests.sources import hf_models

if TYPE_CHECKING:
    from pathlib import Path

SIZES = ("prompt=8", "past=16")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True)
def _own_cache(cache: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_CACHE", cache)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A decoder as transformers saves it, no two of its weights alike."""
    module = hf_models.qwen3()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.rand(parameter.shape) / 100)
    return hf_models.save(module, tmp_path_factory.mktemp("qwen3"))


@pytest.fixture(scope="module")
def bare(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its config.json alone."""
    made = tmp_path_factory.mktemp("bare")
    (made / "config.json").write_bytes((folder / "config.json").read_bytes())
    return made


def test_a_config_alone_is_counted_as_the_whole_model_is(folder: Path, bare: Path) -> None:
    whole = edgekit.inspect_components(folder, SIZES)
    alone = edgekit.inspect_components(bare, SIZES, shape_only=True)
    for one, other in zip(whole, alone, strict=True):
        assert one.macs == other.macs is not None
        assert (one.parameters, one.weight_bytes) == (other.parameters, other.weight_bytes)
        # Of the prepared graphs: a transposed table is folded earlier where it has no values.
        ops, others = (Counter(node.op for node in report.nodes) for report in (one, other))
        assert ops == others
        assert one.peak_activation_bytes == other.peak_activation_bytes


def test_check_and_estimate_say_the_same_without_weights(folder: Path, bare: Path) -> None:
    words: dict[str, Any] = {"targets": ("litert", "coreml"), "shapes": SIZES, "precisions": "fp16"}
    assert edgekit.check(bare, shape_only=True, **words) == edgekit.check(folder, **words)
    alone = edgekit.estimate(bare, shape_only=True, precision="w4")
    assert alone == edgekit.estimate(folder, precision="w4")
    assert set(alone.work) == {"prefill", "decode"}


def test_a_model_of_eight_billion_parameters_takes_no_memory_for_them(tmp_path: Path) -> None:
    """Two layers of the Qwen3-8B configuration: 1.6 billion parameters, 6.5 GB in float32."""
    sizes: dict[str, Any] = {"vocab_size": 151936, "hidden_size": 4096, "intermediate_size": 12288}
    sizes |= {"num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128}
    config = Qwen3Config(**sizes, num_hidden_layers=2, tie_word_embeddings=False)
    config.architectures = ["Qwen3ForCausalLM"]
    config.save_pretrained(tmp_path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    _, decode = edgekit.inspect_components(tmp_path, SIZES, shape_only=True)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    with torch.device("meta"):
        whole: Any = Qwen3ForCausalLM(config)
    parameters = sum(one.numel() for one in whole.parameters())
    assert abs(decode.parameters - parameters) < 100  # scalars of the graph
    assert decode.parameters > 1.6e9
    assert grown < 600_000 if sys.platform == "linux" else grown < 600_000_000


def test_an_export_holds_shapes_and_no_values_and_is_refused_where_values_are_needed(
    bare: Path, tmp_path: Path
) -> None:
    made = edgekit.export(bare, tmp_path / "made", shape_only=True)
    assert sorted(path.name for path in made.iterdir()) == ["decode.onnx", "prefill.onnx", "scenario.toml"]
    for name in ("prefill", "decode"):
        graph = onnx.load(made / f"{name}.onnx", load_external_data=False).graph
        weights = [tensor for tensor in graph.initializer if tensor.external_data]
        assert {tensor.external_data[0].value for tensor in weights} == {LOCATION}
        assert not any(tensor.raw_data for tensor in weights)
        assert sum(len(tensor.dims) == 2 for tensor in weights) >= 2 * 7 + 1  # a layer's seven, and the table
        assert (made / f"{name}.onnx").stat().st_size < 100_000
    words: dict[str, Any] = {"targets": "ort-mobile", "shapes": SIZES, "output": tmp_path / "out"}
    with pytest.raises(SourceError, match="has no weights"):
        edgekit.convert(made, precisions="fp32", **words)
    with pytest.raises(SourceError, match="has no weights"):
        edgekit.debug(made, samples="random", **words)
    with pytest.raises(SourceError, match="has no weights"):
        edgekit.calibrate(made / "decode.onnx", samples="random", shapes=("past=16",))
    assert not (tmp_path / "out").exists()


def test_weights_are_asked_for_where_they_are_missing_and_the_option_is_named(bare: Path) -> None:
    with pytest.raises(SourceError, match="--shape-only needs none"):
        edgekit.inspect_components(bare, SIZES)


@pytest.mark.parametrize("option", [("--shape-only",), ("--random-weights", "1")])
def test_a_model_that_decides_by_numbers_is_one_error(tmp_path: Path, option: tuple[str, ...]) -> None:
    folder = hf_models.save(hf_models.bert(), tmp_path / "bert")
    result = run("export", folder, *option, "-o", tmp_path / "made")
    assert result.exit_code == 1
    assert "BertForSequenceClassification decides by numbers in a tensor" in result.stderr
    assert "modeling_attn_mask_utils.py" in result.stderr
    assert "without --shape-only" in result.stderr
    assert "bug" not in result.stderr
    assert not (tmp_path / "made").exists()


def test_a_factory_is_called_without_memory_for_parameters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "wide.py").write_text(
        "import torch\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.one = torch.nn.Linear(50000, 50000, bias=False)\n"
        "        self.register_buffer('scale', torch.tensor([2.0]))\n"
        "    def forward(self, x):\n"
        "        return self.one(x * self.scale)\n"
        "def factory():\n"
        "    return Net(), {'x': torch.zeros(2, 50000)}, {'x': {0: 'batch'}}\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    ran = CliRunner().invoke(
        main, ["inspect", "wide:factory", "--shape-only", "--shape", "batch=3", "--json"]
    )
    assert ran.exit_code == 0, ran.output
    report = json.loads(ran.stdout)["model"]
    assert (report["macs"], report["parameters"]) == (3 * 50000**2, 50000**2 + 1)


def test_a_shape_without_values_stands_for_weights_only(tmp_path: Path) -> None:
    """A constant of the graph may not come without values: shapes and axes would be made up."""
    tensor = onnx.TensorProto(name="axes", dims=[2], data_type=onnx.TensorProto.INT64)
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=LOCATION)
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Reshape", ["x", "axes"], ["y"])],
        "g",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [2, 3])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
        [tensor],
    )
    path = tmp_path / "m.onnx"
    path.write_bytes(
        onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)]).SerializeToString()
    )
    with pytest.raises(SourceError, match="'axes' has no values"):
        load_onnx(path)


_FACTORIES = {
    "decides": "        return x + 1 if self.one.weight.sum() > 0 else x\n",
    "breaks": "        return self.one(x.reshape(7))\n",
    "computes": "",
}


@pytest.mark.parametrize(
    ("case", "told"),
    [
        ("decides", "decides by numbers in a tensor, and shapes alone have none at module"),
        ("breaks", "on the shapes of its example inputs"),
        ("computes", "parameters have no numbers to compute with under --shape-only"),
    ],
)
def test_a_factory_that_needs_its_weights_is_told_so_and_not_to_mend_itself(
    case: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / f"net_{case}.py").write_text(
        "import torch\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.one = torch.nn.Linear(4, 4)\n"
        "    def forward(self, x):\n"
        + (_FACTORIES[case] or "        return self.one(x)\n")
        + "def factory():\n"
        "    net = Net()\n"
        + ("    float(net.one.weight.sum())\n" if case == "computes" else "")
        + "    return net, {'x': torch.zeros(2, 4)}\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    result = run("inspect", f"net_{case}:factory", "--shape-only")
    assert result.exit_code == 1
    assert told in result.stderr
    assert "without --shape-only" in result.stderr or "leave the option out" in result.stderr
    assert "bug" not in result.stderr
