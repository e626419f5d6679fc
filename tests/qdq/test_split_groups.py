"""A quiet tensor that a Concat and others read keeps its own scale beside a loud one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir
import pytest
from onnx import numpy_helper

import edgekit
from edgekit._qdq import QdqForm, QdqResult, Steering, Widening, insert_qdq
from edgekit._schemes import INT16X8, NATIVE_U8, PORTABLE, Scheme
from tests.models import run_onnx
from tests.qdq.qdq_nets import all_tensors, as_component, net, node, normal, record_of, sqnr

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import onnx

SHAPE = (1, 4, 8, 8)
FEEDS = {"x": normal(*SHAPE, seed=4)}


def pair(loudness: float, outputs: Sequence[str] = ("quiet", "y")) -> onnx.ModelProto:
    """Two convolutions, the second `loudness` times as loud, joined and read by a third."""
    weights = {
        "w1": normal(4, 4, 1, 1, seed=1),
        "w2": normal(4, 4, 1, 1, seed=2) * np.float32(loudness),
        "w3": normal(4, 8, 1, 1, seed=3),
    }
    nodes = [
        node("Conv", ["x", "w1"], ["quiet"], "first"),
        node("Conv", ["x", "w2"], ["loud"], "second"),
        node("Concat", ["quiet", "loud"], ["both"], "join", axis=1),
        node("Conv", ["both", "w3"], ["y"], "third"),
    ]
    return net(nodes, {"x": SHAPE}, outputs, weights)


def proto_of(result: QdqResult) -> onnx.ModelProto:
    made: onnx.ModelProto = ir.to_proto(result.component.model)
    return made


def second_pairs(model: onnx.ModelProto) -> list[str]:
    """What every QuantizeLinear makes that reads a DequantizeLinear."""
    restored = {made.output[0] for made in model.graph.node if made.op_type == "DequantizeLinear"}
    return [
        made.output[0]
        for made in model.graph.node
        if made.op_type == "QuantizeLinear" and made.input[0] in restored
    ]


@pytest.mark.parametrize("scheme", [PORTABLE, NATIVE_U8], ids=lambda scheme: scheme.name)
def test_the_output_keeps_its_own_levels_and_the_concat_one_scale(scheme: Scheme) -> None:
    model = pair(64.0)
    tensors = all_tensors(model, FEEDS)
    result = insert_qdq(as_component(model), record_of(tensors), form=QdqForm(scheme))
    made = proto_of(result)
    got = run_onnx(made, FEEDS)
    assert sqnr(tensors["quiet"], got["quiet"]) > 35  # 64 times as coarse a step would leave a level or two
    assert sqnr(tensors["y"], got["y"]) > 30
    reach = np.abs(tensors["quiet"]).max()
    assert result.scales.tensors["quiet"].scale == pytest.approx(reach / 127, rel=0.5)
    assert result.scales.tensors["loud"] == result.scales.tensors["both"]
    assert set(result.scales.tensors) == {"x", "quiet", "loud", "both", "y"}
    assert len(second_pairs(made)) == 1
    assert [one.op for one in result.decisions] == ["Conv", "Conv", "Concat", "Conv"]
    assert "Identity" not in {one.op_type for one in made.graph.node}


@pytest.mark.parametrize(
    ("loudness", "outputs"),
    [(2.0, ("quiet", "y")), (64.0, ("y",)), (1 / 64, ("quiet", "y"))],
    ids=["alike", "read by the Concat alone", "louder than the other"],
)
def test_elsewhere_one_scale_stays(loudness: float, outputs: Sequence[str]) -> None:
    model = pair(loudness, outputs)
    record = record_of(all_tensors(model, FEEDS))
    result = insert_qdq(as_component(model), record, form=QdqForm(PORTABLE))
    assert second_pairs(proto_of(result)) == []
    assert result.scales.tensors["quiet"] == result.scales.tensors["both"]


def test_what_joins_in_16_bits_is_not_cut_to_8_on_the_way() -> None:
    model = pair(64.0)
    tensors = all_tensors(model, FEEDS)
    every = Steering(wide=Widening(INT16X8, frozenset({"first", "second", "join", "third"})))
    result = insert_qdq(as_component(model), record_of(tensors), form=QdqForm(PORTABLE), steering=every)
    made = proto_of(result)
    values = {one.name: numpy_helper.to_array(one) for one in made.graph.initializer}
    pairs = [one for one in made.graph.node if one.op_type == "QuantizeLinear"]
    assert {values[one.input[2]].dtype.name for one in pairs} == {"int16"}
    assert len(second_pairs(made)) == 1


@pytest.mark.parametrize("target", ["litert", "ort-mobile"])
def test_runtimes_hold_the_second_rounding(target: str, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(pair(64.0).SerializeToString())
    (tmp_path / "data").mkdir()
    for index in range(4):
        np.savez(tmp_path / "data" / f"{index}.npz", allow_pickle=False, x=normal(*SHAPE, seed=index))
    made = edgekit.convert(
        tmp_path / "m.onnx",
        targets=target,
        precisions="int8",
        samples=tmp_path / "data",
        output=tmp_path / "out",
        cache="off",
    )
    parity = made.bundles[0].parities[0]
    assert parity.passed
    told = {one.output: one.sqnr_db for one in parity.against_fp32}
    assert told["quiet"] is not None
    assert told["quiet"] > 35
    assert parity.macs is not None
    assert parity.macs.share == 1.0
