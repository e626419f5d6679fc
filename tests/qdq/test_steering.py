"""Which nodes `--float` means."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from edgekit._qdq import steer
from edgekit.errors import ModelError
from tests.qdq.qdq_nets import net, node

NAMES = ("front/a", "front/b", "back/a[0]", "back/a0")


def graph() -> ir.Graph:
    chain = [node("Relu", [f"t{i}"], [f"t{i + 1}"], name) for i, name in enumerate(NAMES)]
    return ir.from_proto(net(chain, {"t0": (1, 4)}, (f"t{len(NAMES)}",))).graph


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("front/a", {"front/a"}),
        ("front/*", {"front/a", "front/b"}),
        ("*/a", {"front/a"}),
        ("back/a[0]", {"back/a[0]"}),  # a name as it stands comes before a pattern
        ("back/a?", {"back/a0"}),
    ],
)
def test_a_word_is_a_name_or_else_a_pattern_of_names(word: str, meant: set[str]) -> None:
    assert steer(graph(), [word], []).float_nodes == meant


def test_a_pattern_that_meets_no_node_is_refused_with_the_nearest() -> None:
    with pytest.raises(ModelError, match=r"names 'frnt/\*', and no node is called so.*did you mean 'front/"):
        steer(graph(), ["frnt/*"], [])
