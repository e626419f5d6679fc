"""Hugging Face folders: what is loaded and exported, and which folders are refused."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import edgekit
from edgekit.errors import SourceError
from edgekit.sources.export_source import export_key
from tests.converted import run
from tests.models import run_onnx
from tests.sources import hf_models

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return hf_models.save(hf_models.bert(), tmp_path / "bert")


def test_an_encoder_computes_what_transformers_does_at_any_batch_and_length(
    folder: Path, tmp_path: Path
) -> None:
    file = edgekit.export(folder, tmp_path / "made") / "model.onnx"
    module = type(hf_models.bert()).from_pretrained(folder).eval()
    for shape in ((2, 16), (1, 5), (3, 32)):
        ids = torch.randint(0, 50, shape)
        mask = torch.ones_like(ids)
        mask[:, 4:] = 0
        with torch.no_grad():
            want = module(input_ids=ids, attention_mask=mask).logits.numpy()
        got = run_onnx(file, {"input_ids": ids.numpy(), "attention_mask": mask.numpy()})["logits"]
        np.testing.assert_allclose(got, want, atol=1e-5)


def change_config(folder: Path, **values: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def drop_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def leave_pickles(folder: Path) -> None:
    drop_weights(folder)
    torch.save({}, folder / "pytorch_model.bin")


def drop_a_weight(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["classifier.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def cut_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:500])


def name_a_shard(folder: Path) -> None:
    index = {"weight_map": {"classifier.weight": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def widen(folder: Path) -> None:
    change_config(folder, hidden_size=32)


def damage_config(folder: Path) -> None:
    (folder / "config.json").write_text("{")


BAD: dict[str, tuple[Callable[[Path], None], str]] = {
    "no weights": (drop_weights, "holds no weights: a .safetensors file is missing"),
    "pickles": (
        leave_pickles,
        r"pytorch_model\.bin is pickled, and unpickling runs code",
    ),
    "a weight": (drop_a_weight, "does not match its weights: 'classifier.weight' is missing"),
    "cut short": (cut_weights, "can't be loaded"),
    "a shard": (name_a_shard, "the weights file 'model-00002-of-00002.safetensors' is missing"),
    "another size": (
        lambda folder: change_config(folder, hidden_size=32),
        r"'\S+' has another shape than the config says",
    ),
    "own code": (
        lambda folder: change_config(folder, auto_map={"AutoModel": "m.M"}),
        "names code of its own",
    ),
    "no such class": (lambda folder: change_config(folder, architectures=["Nope"]), "names the architecture"),
    "no such type": (lambda folder: change_config(folder, model_type="nope"), "transformers does not know"),
    "no JSON": (damage_config, "can't be read"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_folder_that_is_not_whole_is_refused(case: str, folder: Path, tmp_path: Path) -> None:
    spoil, told = BAD[case]
    spoil(folder)
    with pytest.raises(SourceError, match=told):
        edgekit.export(folder, tmp_path / "made")
    assert not (tmp_path / "made").exists()


def test_a_decoder_with_a_sliding_window_is_refused(tmp_path: Path) -> None:
    module = hf_models.qwen3()
    folder = hf_models.save(module, tmp_path / "model")
    change_config(
        folder, use_sliding_window=True, sliding_window=4, layer_types=["full_attention", "sliding_attention"]
    )
    with pytest.raises(SourceError, match="mixes kinds of layers"):
        edgekit.export(folder, tmp_path / "made")


def test_the_cache_knows_a_folder_by_its_content(folder: Path, tmp_path: Path) -> None:
    before = export_key(folder)
    assert before == export_key(folder)
    change_config(folder, id2label={"0": "a", "1": "b", "2": "c"})
    assert export_key(folder) != before


@pytest.mark.parametrize("name", ["runs/last.ckpt", "runs/m.pth", "runs/edgekit.toml", "runs/m.onnx"])
def test_a_file_that_is_missing_is_no_id(name: str, tmp_path: Path) -> None:
    result = run("export", name, "-o", tmp_path / "made")
    assert result.exit_code == 2
    assert "there is no such model" in result.stderr
    assert "Hugging Face has no such" not in result.stderr


def test_an_id_that_is_nowhere_is_told_without_a_network(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    result = run("export", "nobody/nothing-at-all", "-o", tmp_path / "made")
    assert result.exit_code == 1
    assert (
        "there is no file 'nobody/nothing-at-all', and Hugging Face has no such model here" in result.stderr
    )
