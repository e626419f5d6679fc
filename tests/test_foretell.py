"""What a conversion and a report say of a device that nobody measured: what `estimate` says."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import onnx
import pytest
from onnx import TensorProto, helper

import edgekit
from edgekit._bundle import open_bundle
from edgekit._foretold import foretell_known
from edgekit._predict import foretell

if TYPE_CHECKING:
    from pathlib import Path

    from edgekit._results import ConvertResult

DEVICE = "jetson-orin-nano-super"


def _convert(folder: Path, *precisions: str, shape: str | None = None, **words: str) -> ConvertResult:
    """A convolution over 8 channels of 16 x 16, and what it makes."""
    numbers = [0.01 * (index % 7 - 3) for index in range(576)]
    weight = helper.make_tensor("w", TensorProto.FLOAT, [8, 8, 3, 3], numbers)
    batch = "n" if shape else 1
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, 8, 16, 16]) for name in ("x", "y")]
    conv = helper.make_node("Conv", ["x", "w"], ["y"], pads=[1] * 4)
    graph = helper.make_graph([conv], "g", ends[:1], ends[1:], [weight])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "m.onnx"
    )
    return edgekit.convert(
        folder / "m.onnx", targets=DEVICE, output=folder / "out", precisions=precisions, samples="random",
        shapes=shape, cache="off", budget=words,
    )  # fmt: skip


def test_a_bundle_is_foretold_as_estimate_foretells_its_model(tmp_path: Path) -> None:
    result = _convert(tmp_path, "int8", latency="1us")
    told = {figure.metric: figure for figure in result.bundles[0].figures if figure.kind == "predicted"}
    asked = edgekit.estimate(tmp_path / "m.onnx", devices=DEVICE, precision="int8").devices[0]
    known = {figure.metric: figure for figure in asked.figures if figure.value is not None}
    assert told.keys() == known.keys() >= {"latency", "memory", "power", "energy"}
    for metric, figure in known.items():
        assert told[metric].value == pytest.approx(figure.value, rel=1e-5)
        assert told[metric].basis == figure.basis
    assert result.bundles[0].verdicts[0].status == "does not fit"


def test_a_report_labels_what_is_predicted_and_keeps_it_out_of_baselines(tmp_path: Path) -> None:
    bundle = _convert(tmp_path, "int8").bundles[0].folder
    first = edgekit.report(bundle, tmp_path / "a", budget="latency=1s,size=1MB")
    kinds = {figure.metric: figure.kind for figure in first.devices[0].figures}
    assert (kinds["latency"], kinds["memory"], kinds["size"]) == ("predicted", "predicted", "measured")
    assert {verdict.metric: verdict.status for verdict in first.devices[0].verdicts} == {
        "latency": "fits",
        "size": "fits",
    }
    words = (tmp_path / "a" / "report.md").read_text()
    latency = next(figure for figure in first.devices[0].figures if figure.metric == "latency")
    assert latency.interval is not None
    low, high = (f"{end:.4g}ms" for end in latency.interval)
    assert f"ms \\[{low}..{high}\\] predicted |" in words
    assert "of 1000ms, predicted:" in words
    edgekit.report(bundle, tmp_path / "c", budget="latency=1us")
    (failure,) = ET.parse(tmp_path / "c" / "junit.xml").getroot().findall("testsuite/testcase/failure")
    assert ", predicted: " in failure.get("message", "")
    old = json.loads((tmp_path / "a" / "report.json").read_text())
    for figure in old["devices"][0]["figures"]:
        figure["value"] = 1e-6
    (tmp_path / "old.json").write_text(json.dumps(old))
    rules = ["latency > +10%", "size > +10%"]
    again = edgekit.report(bundle, tmp_path / "b", baseline=tmp_path / "old.json", fail_if=rules)
    assert [line.split()[1] for line in again.regressions] == ["size"]


def test_nothing_is_foretold_of_open_sizes_or_of_a_mixed_network(tmp_path: Path) -> None:
    with open_bundle(_convert(tmp_path, "int8", shape="n=1..4").bundles[0].folder) as bundle:
        assert "work" not in bundle.manifest["components"][0]
        device = edgekit.list_devices(DEVICE)[0]
        assert foretell_known(bundle) == ()
        artifact = bundle.artifacts[0]
    work = {"dense": 10**9, "depthwise": 0, "grouped": 0, "attention": 0, "weights": 10, "activations": 10}
    from edgekit._work_terms import TERMS

    work |= {"layers": 1, "peak_activations": 10, "read_weights": 10, "layout": 0}
    whole = {**work, "terms": dict.fromkeys(TERMS, 0.1)}
    assert artifact.macs is not None
    assert foretell(whole, artifact, device)
    mixed = replace(artifact, macs=replace(artifact.macs, int8=artifact.macs.total // 2))
    assert foretell(whole, mixed, device) == ()
    assert foretell({**work, "terms": {"of another version": 1.0}}, artifact, device) == ()
