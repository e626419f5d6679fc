"""What only logarithms read stays float where the samples show that int8 lacks small numbers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
import pytest

import edgekit
from edgekit._qdq import find_front_end
from edgekit.passes.infer_shapes import infer_shapes
from tests.qdq.qdq_nets import f32, net, node, normal

if TYPE_CHECKING:
    from pathlib import Path

    import onnx

BANDS, STEPS = 16, 64
# Multiply-accumulates: of the two filter banks, and of the layers that read the logarithm.
IN_FRONT, BEHIND = 2 * BANDS * STEPS * 16, (16 * 3 + 16 * 16 * 3 * 2) * BANDS * STEPS


def listener(*outputs: str) -> onnx.ModelProto:
    """Powers of two filter banks over 16 samples, their logarithm, and three convolutions over that."""
    nodes = [
        node("Conv", ["x", "sine"], ["s"], "sines", strides=[1, 16]),
        node("Conv", ["x", "cosine"], ["c"], "cosines", strides=[1, 16]),
        node("Mul", ["s", "s"], ["ss"], "square_s"),
        node("Mul", ["c", "c"], ["cc"], "square_c"),
        node("Add", ["ss", "cc"], ["power"], "sum"),
        node("Add", ["power", "floor"], ["p"], "floor"),
        node("Log", ["p"], ["l"], "log"),
        node("Transpose", ["l"], ["lt"], "bands", perm=[0, 2, 1, 3]),
        node("Conv", ["lt", "w1"], ["h"], "first", pads=[1, 0, 1, 0]),
        node("Relu", ["h"], ["r"], "relu"),
        node("Conv", ["r", "w2"], ["h2"], "second", pads=[1, 0, 1, 0]),
        node("Conv", ["h2", "w3"], ["y"], "third", pads=[1, 0, 1, 0]),
    ]
    angles = np.outer(np.arange(BANDS), np.arange(16)) * np.pi / 16
    weights = {
        "sine": np.sin(angles).astype(np.float32).reshape(BANDS, 1, 1, 16),
        "cosine": np.cos(angles).astype(np.float32).reshape(BANDS, 1, 1, 16),
        "floor": f32([1e-8]),
        "w1": normal(16, 1, 3, 1, seed=1),
        "w2": normal(16, 16, 3, 1, seed=2),
        "w3": normal(16, 16, 3, 1, seed=3),
    }
    return net(nodes, {"x": (1, 1, 1, 16 * STEPS)}, outputs or ("y",), weights)


def prepared(model: onnx.ModelProto) -> ir.Model:
    made = ir.from_proto(model)
    infer_shapes(made)
    return made


def test_the_front_end_is_what_leads_to_outputs_through_a_logarithm_alone() -> None:
    model = prepared(listener())
    assert find_front_end(model) == {"sines", "cosines", "square_s", "square_c", "sum", "floor"}


def test_a_tensor_that_something_else_reads_too_is_no_front_end() -> None:
    model = prepared(listener("y", "s"))
    assert find_front_end(model) == {"cosines", "square_s", "square_c", "sum", "floor"}


@pytest.mark.parametrize("behind", [0, 2])
def test_a_model_that_ends_in_a_logarithm_has_none(behind: int) -> None:
    """A LogSoftmax written out: all of the model leads to it, or five sixths of the MACs do."""
    layers = [node("Gemm", [f"h{i}", "w"], [f"h{i + 1}"], f"gemm{i}") for i in range(10)]
    ends = [node("Softmax", ["h10"], ["soft"]), node("Log", ["soft"], ["t0"], "log")]
    ends += [node("Gemm", [f"t{i}", "w"], [f"t{i + 1}"], f"behind{i}") for i in range(behind)]
    model = net([*layers, *ends], {"h0": (1, 8)}, (f"t{behind}",), {"w": normal(8, 8)})
    assert find_front_end(prepared(model)) == frozenset()


def sounds(loudness: float) -> list[np.ndarray]:
    """Tones of one band that fade by `loudness` decades over the steps."""
    time = np.arange(16 * STEPS)
    fade = 10 ** (-loudness * time / time.size)
    tones = [np.sin(np.pi * band * time / 16) * fade for band in (3, 6, 9, 12)]
    return [tone.astype(np.float32).reshape(1, 1, 1, -1) for tone in tones]


@pytest.mark.parametrize("target", ["ort-mobile", "litert"])
def test_quiet_sounds_survive_int8_behind_a_logarithm(target: str, tmp_path: Path) -> None:
    made = convert(tmp_path, target, sounds(3.0))
    rows = {row["node"]: row for row in made["decisions"]}
    for name in ("sines", "cosines"):
        assert rows[name]["precision"] == "float"
        assert rows[name]["reason"].startswith("only logarithms read what comes of it")
    assert {rows[name]["precision"] for name in ("first", "second", "third")} == {"int8"}
    assert made["macs"] == {"int8": BEHIND, "total": BEHIND + IN_FRONT, "share": BEHIND / (BEHIND + IN_FRONT)}
    assert "what only logarithms read stays float: " in made["notes"]
    assert made["sqnr"] > 20


def test_an_even_sound_keeps_its_front_end_in_int8(tmp_path: Path) -> None:
    """Every band is loud in it: rounding moves no logarithm far."""
    rng = np.random.default_rng(5)
    noise = [rng.choice([-1.0, 1.0], (1, 1, 1, 16 * STEPS)).astype(np.float32) for _ in range(4)]
    made = convert(tmp_path, "ort-mobile", noise)
    assert made["macs"]["share"] == 1.0
    assert "logarithms" not in made["notes"]


def convert(folder: Path, target: str, samples: list[np.ndarray]) -> dict[str, Any]:
    """What the INT8 bundle of the listener says of itself."""
    (folder / "m.onnx").write_bytes(listener().SerializeToString())
    (folder / "data").mkdir()
    for index, sample in enumerate(samples):
        np.savez(folder / "data" / f"{index}.npz", allow_pickle=False, x=sample)
    words: dict[str, Any] = {"precisions": "int8", "samples": folder / "data", "cache": "off"}
    (bundle,) = edgekit.convert(folder / "m.onnx", targets=target, output=folder / "out", **words).bundles
    manifest = json.loads((bundle.folder / "manifest.json").read_text())
    artifact = next(row for row in manifest["artifacts"] if row["variant"] == "int8")
    parity = next(one for one in bundle.parities if one.variant == "int8")
    return {
        "decisions": json.loads((bundle.folder / "decisions.json").read_text())["nodes"],
        "macs": artifact["macs"],
        "notes": " ".join(manifest["notes"]),
        "sqnr": min(one.sqnr_db for one in parity.against_fp32 if one.sqnr_db is not None),
    }
