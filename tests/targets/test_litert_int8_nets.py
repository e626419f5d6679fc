"""Random nets of int8 blocks through LiteRT: no further from fp32 than their Q/DQ graph is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest

from edgekit._qdq import QdqForm, equalize_channels, insert_qdq, lift_component
from edgekit._schemes import PORTABLE
from edgekit.passes.serialize_model import serialize_model
from edgekit.targets.litert.session import LiteRTSession
from tests.converted import sqnr_db
from tests.models import run_onnx
from tests.qdq.qdq_nets import all_tensors, normal, record_of
from tests.qdq.test_qdq_models import RandomNet
from tests.targets.litert_models import build, prepared

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edgekit.targets.litert.session import Kernels

KERNELS: tuple[Kernels, ...] = ("xnnpack", "reference")


class Int8Net(RandomNet):
    """With the blocks that LiteRT computes in ways of its own."""

    def blocks(self) -> dict[str, Callable[[str, str], str]]:
        put = self.put
        self.weights |= {"borders": np.array([0, 0, 1, 2, 0, 0, 1, 1])}
        return super().blocks() | {
            "sigmoid": lambda c, _: put("Sigmoid", [c]),
            "tanh": lambda c, _: put("Tanh", [c]),
            "leaky": lambda c, _: put("LeakyRelu", [c], alpha=0.2),
            "prelu": lambda c, _: put("PRelu", [c, self.numbers((6, 1, 1), 0.3)]),
            "affine": lambda c, _: put(
                "Add", [put("Mul", [c, self.numbers((1, 6, 1, 1), 1)]), self.numbers((6, 1, 1), 1)]
            ),
            "gate": lambda c, here: put("Mul", [here, put("HardSigmoid", [c])]),
            "average": lambda c, _: put("AveragePool", [c], kernel_shape=[2, 2]),
            "linear": lambda c, _: put("Resize", [c, "", "by"], mode="linear"),
            "reflect": lambda c, _: put("Pad", [c, "borders"], mode="reflect"),
        }

    def numbers(self, shape: tuple[int, ...], spread: float) -> str:
        name = f"numbers{len(self.weights)}"
        self.weights[name] = self.rng.normal(0, spread, shape).astype(np.float32)
        return name


@pytest.mark.parametrize("seed", range(12))
def test_a_random_net_loses_nothing_on_its_way_into_litert(seed: int, tmp_path: Path) -> None:
    model = Int8Net(seed).model
    feeds = [{"x": normal(1, 3, 12, 12, seed=10 * seed + index)} for index in range(4)]
    component = lift_component(prepared(model))
    plain = onnx.load_from_string(serialize_model(component.model))
    component, record = equalize_channels(component, record_of(all_tensors(plain, feeds[0])))
    graph = insert_qdq(component, record, form=QdqForm(PORTABLE, "int32", gemm_output="int8")).component
    artifact = build(graph, tmp_path, "int8")
    assert artifact.macs is not None
    assert artifact.macs.share > 0.9
    truth, own = ([run_onnx(net, feed) for feed in feeds] for net in (model, graph.model))
    for kernel in KERNELS:
        session = LiteRTSession(tmp_path / artifact.main, kernel)
        made = [{name: value.copy() for name, value in session.run(feed).items()} for feed in feeds]
        assert _joined_sqnr(made, truth) > _joined_sqnr(own, truth) - 1, kernel


def _joined_sqnr(got: list[dict[str, np.ndarray]], want: list[dict[str, np.ndarray]]) -> float:
    """Of the worst output over all samples."""
    joined = [{name: np.concatenate([run[name] for run in runs]) for name in want[0]} for runs in (got, want)]
    return sqnr_db(*joined)
