"""Decoders with the cache as tensors, driven in ONNX Runtime token by token beside transformers' own code."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

import edgekit
from edgekit.sources.export_source import export_components
from edgekit.sources.hf_decoder import DecoderForm, decoder_source
from edgekit.targets.ort_mobile import OrtMobile
from tests.sources import hf_models

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from edgekit._values import Artifact
    from edgekit.target import Session

DEVICES = {
    "ort-mobile": "generic-ort-mobile",
    "litert": "generic-litert",
    "coreml": "generic-coreml",
    "tensorrt": "generic-tensorrt",
}
PROMPT, STEPS, ROOM = 5, 32, 48


@pytest.fixture(scope="module", params=["qwen3", "qwen3_vl"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A decoder exported, and another copy of it that nothing has touched."""
    build = getattr(hf_models, request.param)
    folder = tmp_path_factory.mktemp(request.param)
    export_components(decoder_source(build()), folder, request.param)
    return folder, build()


def open_file(folder: Path, name: str) -> ort.InferenceSession:
    return ort.InferenceSession(str(folder / f"{name}.onnx"), providers=["CPUExecutionProvider"])


def run(session: ort.InferenceSession, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    names = [value.name for value in session.get_outputs()]
    arrays = session.run(names, feeds)
    return {name: np.asarray(array) for name, array in zip(names, arrays, strict=True)}


def positions(module: Any, places: range) -> np.ndarray:
    row = np.array([list(places)], np.int64)
    return np.repeat(row[None], 3, 0) if hasattr(module.config, "vision_config") else row


def drive(
    folder: Path, module: Any, ids: list[int], *, fixed: bool, frozen: bool = False, zeroed: bool = False
) -> np.ndarray:
    """Logits of the last prompt token and of each step; the cache is fixed at ROOM places, or grows."""
    prefill, decode = open_file(folder, "prefill"), open_file(folder, "decode")
    start = {"input_ids": np.array([ids[:PROMPT]], np.int64), "last": np.array([PROMPT - 1], np.int64)}
    out = run(prefill, {**start, "position_ids": positions(module, range(PROMPT))})
    rows = [out["logits"][0, 0]]
    cache = {name.replace("new", "past"): array for name, array in out.items() if name != "logits"}
    if fixed:
        cache = {
            name: np.pad(array, ((0, 0), (0, 0), (0, ROOM - PROMPT), (0, 0)), constant_values=9)
            for name, array in cache.items()
        }
    for place, token in enumerate(ids[PROMPT:], PROMPT):
        past = {name: np.zeros_like(array) if zeroed else array for name, array in cache.items()}
        where = PROMPT if frozen else place
        feeds = {
            "input_ids": np.array([[token]], np.int64),
            "position_ids": positions(module, range(where, where + 1)),
        }
        out = run(decode, {**feeds, "past_length": np.array([place], np.int64), **past})
        rows.append(out["logits"][0, 0])
        for name in cache:
            new = out[name.replace("past", "new")]
            if fixed:
                cache[name][:, :, place : place + 1] = new
            else:
                cache[name] = np.concatenate((cache[name], new), 2)
    return np.stack(rows)


@pytest.mark.parametrize("fixed", [True, False])
def test_32_teacher_forced_steps_give_the_logits_of_transformers_own_cache(
    made: tuple[Path, Any], fixed: bool
) -> None:
    folder, module = made
    ids = hf_models.tokens(PROMPT + STEPS)
    want = hf_models.own_logits(module, ids)[PROMPT - 1 :]
    got = drive(folder, module, ids, fixed=fixed)
    assert np.abs(got - want).max() < 1e-3
    assert np.abs(want[1:] - want[:-1]).max(axis=1).min() > 0.1  # each step says something of its own
    for wrong in ({"frozen": True}, {"zeroed": True}):
        assert np.abs(drive(folder, module, ids, fixed=fixed, **wrong) - want).max() > 0.1


def test_prefill_and_decode_point_to_one_copy_of_the_weights(made: tuple[Path, Any]) -> None:
    folder, module = made
    parameters = sum(one.nbytes for one in module.get_decoder().parameters())
    held = sum(path.stat().st_size for path in folder.glob("weights/*"))
    # A tied head is held as the transposed table a second time.
    assert held <= parameters + module.get_input_embeddings().weight.nbytes
    files = [
        {
            entry.value
            for tensor in onnx.load(folder / name, load_external_data=False).graph.initializer
            for entry in tensor.external_data
            if entry.key == "location"
        }
        for name in ("prefill.onnx", "decode.onnx")
    ]
    assert files[0] == files[1] != set()


def test_open_dims_have_one_name_in_every_cache_tensor(made: tuple[Path, Any]) -> None:
    graph = onnx.load(made[0] / "decode.onnx", load_external_data=False).graph
    named = {dim.dim_param for value in graph.input for dim in value.type.tensor_type.shape.dim} - {""}
    assert named == {"past"}
    ops = {node.op_type for node in graph.node}
    assert not ops & {"If", "Loop", "Expand", "ScatterND", "Attention", "GatherND"}


@pytest.mark.parametrize("made", ["qwen3_vl"], indirect=True)
def test_positions_of_the_three_mrope_axes_each_turn_their_own_part(made: tuple[Path, Any]) -> None:
    """An image's tokens have different positions on the axes; transformers' own code is the truth."""
    folder, module = made
    ids = np.array([hf_models.tokens(PROMPT)], np.int64)
    places = np.array([[[0, 1, 2, 2, 4]], [[0, 1, 3, 5, 4]], [[0, 1, 4, 7, 9]]], np.int64)
    out = run(open_file(folder, "prefill"), {"input_ids": ids, "position_ids": places, "last": np.array([4])})
    with torch.no_grad():
        want = module(
            input_ids=torch.tensor(ids),
            attention_mask=torch.ones(1, PROMPT),  # without one, positions that jump are taken for two texts
            position_ids=torch.tensor(places),
            use_cache=False,
        )
    np.testing.assert_allclose(out["logits"][0, 0], want.logits[0, -1].numpy(), atol=1e-3)


@pytest.fixture(scope="module")
def bundles(made: tuple[Path, Any]) -> dict[str, Path]:
    """Target -> the bundle of the decoder in float32, with a cache of 48 places and prompts padded to 8."""
    result = edgekit.convert(
        made[0],
        targets=tuple(DEVICES),
        precisions="fp32",
        shapes={"prompt": "8", "past": str(ROOM)},
        output=made[0] / "out",
        cache="off",
    )
    assert result.passed
    return {name: made[0] / "out" / device for name, device in DEVICES.items()}


def test_every_host_runtime_is_driven_through_the_steps_and_keeps_to_torch(
    made: tuple[Path, Any], bundles: dict[str, Path]
) -> None:
    for name, bundle in bundles.items():
        manifest = json.loads((bundle / "manifest.json").read_text())
        tokens = np.load(bundle / manifest["sequence"]["tokens"])
        stored = np.load(bundle / manifest["sequence"]["logits"])
        prompt = manifest["sequence"]["prompt"]
        assert len(stored) == STEPS + 1
        want = hf_models.own_logits(made[1], [int(one) for one in tokens])[prompt - 1 :]
        assert np.abs(stored - want).max() < 1e-3
        (steps,) = [
            output
            for row in manifest["parity"]
            for output in row["against_fp32"]
            if output["output"] == f"logits of {STEPS + 1} teacher-forced steps"
        ]
        assert steps["max_abs"] < 1e-3, name


class Spoiled:
    """A session that gets one input wrong, as a runtime with a bug would."""

    def __init__(self, inner: Session, spoil: str) -> None:
        self.inner, self.spoil = inner, spoil

    def run(self, feeds: Mapping[str, np.ndarray], taps: Sequence[str] = ()) -> dict[str, np.ndarray]:
        changed = {
            name: np.zeros_like(array) if name.startswith(self.spoil) else array
            for name, array in feeds.items()
        }
        return self.inner.run(changed, taps)


@pytest.mark.parametrize("spoil", ["past_key", "past_value", "position_ids"])
def test_verify_fails_where_positions_are_frozen_or_the_past_is_zeroed(
    spoil: str, bundles: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert edgekit.verify(bundles["ort-mobile"]).passed
    opened = OrtMobile.open

    def open_spoiled(self: OrtMobile, artifact: Artifact, folder: Path) -> Session:
        session = opened(self, artifact, folder)
        return Spoiled(session, spoil) if artifact.component == "decode" else session

    monkeypatch.setattr(OrtMobile, "open", open_spoiled)
    proof = edgekit.verify(bundles["ort-mobile"])
    told = [line for parity in proof.parities for line in parity.gate_failures if "teacher-forced" in line]
    assert any("the cache or the positions do not get through" in line for line in told)
    assert not proof.passed


def test_deepstack_features_are_added_behind_their_layers() -> None:
    """Against a plain sum: features of zero change nothing, those of layer 0 change what layer 1 reads."""
    module = hf_models.qwen3_vl()
    source = decoder_source(module, DecoderForm(first="embeds", deepstack=1))
    prefill = source.components["prefill"]
    inputs = dict(prefill.inputs)
    with torch.no_grad():
        features: Any = inputs["deepstack"]
        with_features = prefill.module(**inputs)[0]
        inputs["deepstack"] = torch.zeros_like(features)
        without = prefill.module(**inputs)[0]
        text = module.get_decoder()
        seen = torch.ones(1, features.shape[2], dtype=torch.bool)
        text.set_attn_implementation("eager")
        own = text(
            inputs_embeds=inputs["inputs_embeds"],
            position_ids=inputs["position_ids"],
            visual_pos_masks=seen,
            deepstack_visual_embeds=[features[0, 0]],
            use_cache=False,
        ).last_hidden_state
        want = module.lm_head(own[:, -1:])
    assert float((with_features - want).abs().max()) < 1e-3
    assert float((with_features - without).abs().max()) > 0.1
