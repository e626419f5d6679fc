"""What nodes on the CPU between parts of an accelerator cost, against sums worked out by hand."""

from __future__ import annotations

import math
import tomllib
from typing import TYPE_CHECKING

import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

import edgekit
from edgekit._fallback import cpu_share, select_nodes, split_work
from edgekit._predict import foretell
from edgekit._values import Artifact, Placement
from edgekit.errors import UsageError
from edgekit.passes.infer_shapes import infer_shapes
from edgekit.profiles.loader import HERE, load_device

if TYPE_CHECKING:
    from pathlib import Path

    from edgekit._fallback import Split

FITS = HERE / "fits"
NUMBERS = 4 * 8 * 8  # of every tensor
MACS = NUMBERS * 4 * 9  # of each convolution


def _conv(source: str, out: str) -> onnx.NodeProto:
    return helper.make_node("Conv", [source, "w"], [out], name=f"to_{out}", pads=[1] * 4)


def _softmax(source: str, out: str) -> onnx.NodeProto:
    return helper.make_node("Softmax", [source], [out], name=f"to_{out}", axis=1)


# A product, a Softmax, a product and the sum with the first one.
CHAIN = (
    _conv("x", "a"),
    _softmax("a", "s"),
    _conv("s", "b"),
    helper.make_node("Add", ["a", "b"], ["y"], "sum"),
)


def _save(folder: Path, *nodes: onnx.NodeProto) -> Path:
    """The nodes over [1, 4, 8, 8], from x to y; one weight [4, 4, 3, 3]."""
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4, 8, 8]) for name in ("x", "y")]
    weight = helper.make_tensor("w", TensorProto.FLOAT, [4, 4, 3, 3], [0.1] * math.prod((4, 4, 3, 3)))
    graph = helper.make_graph(list(nodes), "g", ends[:1], ends[1:], [weight])
    path = folder / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def _split(path: Path, *words: str) -> Split:
    model = ir.load(path)
    infer_shapes(model)
    split = split_work(model, select_nodes(model, words))
    assert split is not None
    return split


def test_a_node_between_two_parts_costs_a_launch_and_two_copies(tmp_path: Path) -> None:
    split = _split(_save(tmp_path, *CHAIN), "Softmax")
    assert (split.on_cpu, split.parts, split.crossings, split.crossed) == (1, 2, 2, 2 * NUMBERS)
    terms = split.accelerator.terms
    assert (terms["launch"], terms["layers"], terms["elementwise"], terms["reduce"]) == (2, 2, 1, 0)
    # x and y, a to the CPU and s from it.
    assert terms["in_out"] == pytest.approx(4 * NUMBERS / 1e6)
    assert split.accelerator.macs == 2 * MACS
    # Softmax reads and writes its tensor; both tensors are converted.
    assert cpu_share(split.cpu) == pytest.approx((0.0, 3 * NUMBERS / 1e6, 1.0))


def test_a_tensor_that_several_nodes_read_over_there_crosses_once(tmp_path: Path) -> None:
    nodes = (
        _conv("x", "a"), _softmax("a", "s"), _softmax("a", "t"), _conv("s", "b"), _conv("t", "c"),
        helper.make_node("Add", ["b", "c"], ["y"]),
    )  # fmt: skip
    split = _split(_save(tmp_path, *nodes), "Softmax")
    # a goes there once; s and t come back. The later products run in one part.
    assert (split.on_cpu, split.parts, split.crossings, split.crossed) == (2, 2, 3, 3 * NUMBERS)


def test_nodes_at_the_ends_of_a_model_part_nothing(tmp_path: Path) -> None:
    last = _split(_save(tmp_path, _conv("x", "a"), _softmax("a", "y")), "to_y")
    assert (last.parts, last.crossings, last.crossed) == (1, 1, NUMBERS)
    assert last.accelerator.terms["in_out"] == pytest.approx(2 * NUMBERS / 1e6)  # x, and a to the CPU
    product = _split(_save(tmp_path, _conv("x", "a"), _softmax("a", "y")), "Conv")
    assert cpu_share(product.cpu)[0] == pytest.approx(MACS / 1e9)
    assert (product.parts, product.crossings, product.accelerator.macs) == (1, 1, 0)


def test_latency_adds_both_shares_by_their_fits(tmp_path: Path) -> None:
    path = _save(tmp_path, *CHAIN)
    split = _split(path, "Softmax")
    words = {"devices": "galaxy-s24", "precision": "int8"}
    made = edgekit.estimate(path, on_cpu="Softmax", **words)  # type: ignore[arg-type]  # words of a TypedDict
    latency = made.devices[0].latency
    table = tomllib.loads((FITS / "qualcomm.toml").read_text())["fit"]
    place = ("galaxy-s24", "litert", "int8")
    npu = next(row for row in table if (row["device"], row["runtime"], row["precision"]) == place)
    assert not npu["likeness"]
    cpu = next(r for r in tomllib.loads((FITS / "cpu.toml").read_text())["fit"] if r["precision"] == "int8")
    there = sum(ms * split.accelerator.terms[term] for term, ms in npu["ms"].items())
    here = 3 * NUMBERS / 1e6 * cpu["moved_ms"] + cpu["op_ms"]
    assert latency.value == pytest.approx(there + here)
    # Smaller than all fitted models: a band twice as wide; other CPUs are off by up to three times.
    assert latency.interval == pytest.approx(
        (there * npu["low"] / 2 + here * cpu["low"] / 3, there * npu["high"] * 2 + here * cpu["high"] * 3)
    )
    assert latency.basis.startswith("spec: 2 parts on the accelerator (family-fit), 2 tensors copied")
    whole = edgekit.estimate(path, **words).devices[0].latency  # type: ignore[arg-type]  # as above
    assert whole.value is not None
    assert latency.value is not None
    assert latency.value > whole.value


def test_a_measurement_still_wins_and_a_siblings_is_not_carried_over(tmp_path: Path) -> None:
    path = _save(tmp_path, *CHAIN)
    made = edgekit.estimate(
        path, devices=["galaxy-s24", "galaxy-s25"], on_cpu=["to_s"], measured={"galaxy-s24": "4ms"}
    )
    rows = {row.device: row.latency for row in made.devices}
    assert (rows["galaxy-s24"].kind, rows["galaxy-s24"].value) == ("measured", 4.0)
    assert rows["galaxy-s25"].basis.startswith("spec: 2 parts on the accelerator (family-fit)")


@pytest.mark.parametrize(
    ("on_cpu", "said"),
    [
        ("Softmx", "did you mean 'Softmax'? its operators: Add, Conv, Softmax"),
        (["Conv", "Softmax", "Add"], "leaves nothing to the accelerator"),
    ],
)
def test_words_that_meet_no_node_or_all_are_refused(tmp_path: Path, on_cpu: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        edgekit.estimate(_save(tmp_path, *CHAIN), on_cpu=on_cpu)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("placement", "told"),
    [
        (Placement("CPU beside SM8650", 1, "Softmax 'to_s': no form", fallback=True), {"memory", "power"}),
        (Placement("CPU beside SM8650", 2, "quantizers of inputs and outputs"), None),
        (Placement("HTP of SM8650 (v75)", 9, "in 1 context"), None),
    ],
)
def test_a_bundle_that_a_compiler_left_partly_on_the_cpu_is_promised_no_latency(
    tmp_path: Path, placement: Placement, told: set[str] | None
) -> None:
    work = vars(edgekit.estimate(_save(tmp_path, *CHAIN), devices="galaxy-s24").work["model"])
    device = load_device(HERE / "devices" / "galaxy-s24.toml")
    artifact = Artifact("m", "int8", "m.onnx", ("m.onnx",), "qnn", placements=(placement,))
    metrics = {figure.metric for figure in foretell(work, artifact, device)}
    assert metrics == told if told else metrics > {"latency", "memory", "energy"}
