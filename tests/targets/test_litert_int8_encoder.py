"""A transformer in int8: linear layers, and attention's products of two computed matrices."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest

import edgekit
from edgekit._qdq import QdqForm, insert_qdq
from edgekit._schemes import PORTABLE
from edgekit.passes.serialize_model import serialize_model
from edgekit.targets.litert.artifact_macs import op_names, read_file
from edgekit.targets.litert.session import LiteRTSession
from tests.converted import sqnr_db
from tests.models import run_onnx
from tests.qdq.qdq_nets import all_tensors, record_of
from tests.targets.litert_encoder import TOKENS, WIDTH, encoder
from tests.targets.litert_models import TARGET, build, job, prepared

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edgekit._qdq import QdqResult
    from edgekit._schemes import GemmOutput
    from edgekit.targets.litert.session import Kernels

    Arrays = dict[str, np.ndarray]

LAYERS = 2
RNG = np.random.default_rng(3)
LOUD = RNG.uniform(0.5, 1.5, WIDTH)
SAMPLES = [(RNG.standard_normal((1, TOKENS, WIDTH)) * LOUD).astype(np.float32) for _ in range(32)]


@cache
def quantized(output: GemmOutput) -> tuple[onnx.ModelProto, QdqResult]:
    """(the float model, its Q/DQ graph), calibrated on the first half of the samples."""
    model = encoder(LAYERS)
    component = prepared(model)
    plain = onnx.load_from_string(serialize_model(component.model))
    runs = [all_tensors(plain, {"x": sample}) for sample in SAMPLES[:16]]
    record = record_of({name: np.concatenate([run[name].reshape(-1) for run in runs]) for name in runs[0]})
    form = QdqForm(PORTABLE, "int32", gemm_output=output)
    return model, insert_qdq(component, record, form=form)


def answers(run: Callable[[Arrays], Arrays]) -> Arrays:
    return {"y": np.concatenate([run({"x": sample})["y"].copy() for sample in SAMPLES[16:]])}


def test_the_target_asks_for_products_that_end_in_int8() -> None:
    assert TARGET.plan([prepared(encoder(1))], job("int8")).gemm_output == "int8"


def test_at_least_80_percent_of_the_macs_are_int8(tmp_path: Path) -> None:
    artifact = build(quantized("int8")[1].component, tmp_path, "int8")
    assert artifact.macs is not None
    # All but the head: 32 x 10 of them.
    linear = TOKENS * (WIDTH * WIDTH * (1 + 4 * LAYERS) + 2 * LAYERS * WIDTH * 64)
    attention = 2 * LAYERS * TOKENS * TOKENS * WIDTH
    assert artifact.macs.int8 == linear + attention
    assert artifact.macs.total == artifact.macs.int8 + WIDTH * 10
    names = op_names((tmp_path / artifact.main).read_bytes())
    assert names.count("BATCH_MATMUL") == 2 * LAYERS


@pytest.mark.parametrize("kernel", ["xnnpack", "reference"])
def test_it_is_within_1_db_of_its_graph(kernel: Kernels, tmp_path: Path) -> None:
    model, result = quantized("int8")
    artifact = build(result.component, tmp_path, "int8")
    session = LiteRTSession(tmp_path / artifact.main, kernel)
    truth = answers(lambda feeds: run_onnx(model, feeds))
    graph = serialize_model(result.component.model)
    own = sqnr_db(answers(lambda feeds: run_onnx(graph, feeds)), truth)
    assert own > 20
    assert sqnr_db(answers(session.run), truth) > own - 1


def test_int8_results_cost_little_against_float_ones() -> None:
    model, _ = quantized("int8")
    truth = answers(lambda feeds: run_onnx(model, feeds))
    kept, made = (serialize_model(quantized(output)[1].component.model) for output in ("float", "int8"))
    apart = sqnr_db(answers(lambda feeds: run_onnx(kept, feeds)), truth)
    assert sqnr_db(answers(lambda feeds: run_onnx(made, feeds)), truth) > apart - 3


def test_convert_takes_int8_results_where_the_samples_show_little_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    onnx.save(encoder(LAYERS), tmp_path / "encoder.onnx")
    (tmp_path / "samples").mkdir()
    for index, sample in enumerate(SAMPLES[:16]):
        np.savez(tmp_path / "samples" / f"{index:02d}.npz", allow_pickle=False, x=sample)
    result = edgekit.convert(
        tmp_path / "encoder.onnx",
        targets=["android"],
        samples=tmp_path / "samples",
        output=tmp_path / "out",
    )
    (bundle,) = result.bundles
    artifact, parity = bundle.artifacts[0], bundle.parities[0]
    assert bundle.passed
    assert artifact.macs is not None
    assert artifact.macs.share > 0.99
    assert parity.runs_equal
    assert parity.against_fp32[0].sqnr_db > 25


def test_every_activation_scale_in_the_file_is_one_of_the_record(tmp_path: Path) -> None:
    result = quantized("int8")[1]
    artifact = build(result.component, tmp_path, "int8")
    schema, file = read_file((tmp_path / artifact.main).read_bytes())
    found = {
        float(tensor.quantization.scale[0])
        for tensor in file.subgraphs[0].tensors
        if tensor.type == schema.TensorType.INT8 and file.buffers[tensor.buffer].data is None
    }
    assert found == {params.scale for params in result.scales.tensors.values()}


def test_no_weight_is_there_in_float_too(tmp_path: Path) -> None:
    artifact = build(quantized("int8")[1].component, tmp_path, "int8")
    schema, file = read_file((tmp_path / artifact.main).read_bytes())
    floats = [
        tensor
        for tensor in file.subgraphs[0].tensors
        if tensor.type == schema.TensorType.FLOAT32 and file.buffers[tensor.buffer].data is not None
    ]
    assert max(int(np.prod(tensor.shape)) for tensor in floats) <= WIDTH * 2
