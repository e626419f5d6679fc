"""Pickled sources: refused with the names in them, run by nobody until trusted, then loaded as torch does."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import struct
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

import edgekit
from edgekit.errors import SourceError
from edgekit.sources.export_source import export_key, open_export
from edgekit.sources.pickled import list_names
from tests.converted import run
from tests.models import run_onnx
from tests.sources import hf_models, torch_zoo

if TYPE_CHECKING:
    from collections.abc import Callable

SPEAKS = ("-t", "ort-mobile", "--no-cache")


class Runs:
    """Unpickling it writes a file."""

    def __init__(self, canary: Path) -> None:
        self.canary = str(canary)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return (os.mkdir, (self.canary,))


@pytest.fixture
def mixer(tmp_path: Path) -> Path:
    """A module with its example inputs, as torch.save writes them."""
    torch.save(torch_zoo.mixer(), tmp_path / "m.pt")
    return tmp_path / "m.pt"


@pytest.fixture
def pickled_bert(tmp_path: Path) -> Path:
    """A Hugging Face folder whose weights are pickled."""
    module = hf_models.bert()
    folder = hf_models.save(module, tmp_path / "bert")
    (folder / "model.safetensors").unlink()
    torch.save(module.state_dict(), folder / "pytorch_model.bin")
    return folder


@pytest.mark.parametrize("old", [False, True])
def test_every_name_is_told_and_nothing_runs(tmp_path: Path, old: bool) -> None:
    canary, path = tmp_path / "ran", tmp_path / "m.pth"
    torch.save({"a": torch.zeros(3), "b": Runs(canary)}, path, _use_new_zipfile_serialization=not old)
    # posix.mkdir, on Linux: what pickle calls os.mkdir.
    assert set(list_names(path)) >= {f"{os.mkdir.__module__}.mkdir", "torch._utils._rebuild_tensor_v2"}
    told = run("convert", path, *SPEAKS, "-o", tmp_path / "out")
    assert told.exit_code == 1
    assert f"it names {os.mkdir.__module__}.mkdir, collections.OrderedDict" in told.stderr
    assert "--trust" in told.stderr
    with pytest.raises(SourceError, match="is pickled"):
        edgekit.inspect(path)
    assert not canary.exists()
    assert not (tmp_path / "out").exists()


def test_scripts_and_weights_alone_are_refused_by_the_command_and_nothing_is_written(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(torch_zoo.FixedWidth()), tmp_path / "script.pt")
    torch.save({"weight": torch.zeros(3)}, tmp_path / "weights.pth")
    for name, problem, way_out in (
        ("script.pt", "is TorchScript, which has no export", "package.module:factory"),
        ("weights.pth", "is pickled, and unpickling runs code", ".safetensors or .pt2"),
    ):
        result = run("convert", tmp_path / name, *SPEAKS, "-o", tmp_path / "out")
        assert result.exit_code == 1
        assert problem in result.stderr
        assert way_out in result.stderr
        trusted = run("convert", tmp_path / name, *SPEAKS, "-o", tmp_path / "out", "--trust")
        assert trusted.exit_code == 1
        assert "package.module:factory" in trusted.stderr
    assert not (tmp_path / "out").exists()


def _damage(packed: int) -> bytes:
    """An archive of torch's kind whose pickle is compressed, with wrong bytes in it."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", packed) as archive:
        archive.writestr("m/data.pkl", pickle.dumps(list(range(1000))))
    data = bytearray(file.getvalue())
    data[60:90] = b"\xff" * 30
    return bytes(data)


@pytest.mark.parametrize(
    "data",
    [
        _damage(zipfile.ZIP_DEFLATED),
        _damage(zipfile.ZIP_LZMA),
        b"\x80\x04\x8d" + struct.pack("<Q", 2**62),  # a text of 4 exabytes
        b"PK\x03\x04",
        b"",
    ],
)
def test_a_damaged_file_is_one_error(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "m.pt").write_bytes(data)
    with pytest.raises(SourceError, match=r"m\.pt can't be read as torch\.save's"):
        edgekit.export(tmp_path / "m.pt", tmp_path / "made")
    with pytest.raises(SourceError, match=r"m\.pt can't be loaded"):
        edgekit.export(tmp_path / "m.pt", tmp_path / "made", trusted=True)


def test_the_names_are_of_what_torch_would_load(tmp_path: Path) -> None:
    path, danger = tmp_path / "m.pt", f"{os.mkdir.__module__}.mkdir"
    torch.save({"a": torch.zeros(3)}, path)
    # torch goes by the first bytes, zip by the last: a pickle in front of an archive.
    path.write_bytes(pickle.dumps(Runs(tmp_path / "ran"), 2) + path.read_bytes())
    assert list_names(path) == [danger]
    torch.save({"a": Runs(tmp_path / "ran")}, path)
    with zipfile.ZipFile(path) as given, zipfile.ZipFile(tmp_path / "loud.pt", "w") as loud:
        for name in given.namelist():
            loud.writestr(name.replace("data.pkl", "DATA.PKL"), given.read(name))
    assert danger in list_names(tmp_path / "loud.pt")  # torch finds its members whatever their case
    assert not (tmp_path / "ran").exists()


def test_raw_numbers_behind_old_pickles_are_read_as_no_text(tmp_path: Path) -> None:
    # 141 is the opcode of a text with eight bytes of length.
    torch.save({"a": torch.ones(141)}, tmp_path / "m.pt", _use_new_zipfile_serialization=False)
    assert "torch.FloatStorage" in list_names(tmp_path / "m.pt")


def test_names_of_any_length_are_told_short(tmp_path: Path) -> None:
    (tmp_path / "m.pt").write_bytes(b"c" + b"m" * 10**6 + b"\nn\n.")
    with pytest.raises(SourceError, match="it names mmm") as caught:
        edgekit.export(tmp_path / "m.pt", tmp_path / "made")
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_names_are_found_in_every_protocol(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "m.bin"
    path.write_bytes(pickle.dumps([Runs(tmp_path / "ran"), Runs(tmp_path / "two"), Path], protocol))
    assert set(list_names(path)) >= {f"{os.mkdir.__module__}.mkdir", f"{Path.__module__}.Path"}


def test_a_trusted_file_is_loaded_and_proven(mixer: Path, tmp_path: Path) -> None:
    made = run("export", mixer, "-o", tmp_path / "made", "--trust")
    assert made.exit_code == 0, made.output
    module, inputs, _ = torch_zoo.mixer()
    x = torch.randn(inputs["x"].shape, generator=torch.Generator().manual_seed(9))
    scale = torch.tensor(0.5)
    with torch.no_grad():
        want = module(x, scale).numpy()
    got = run_onnx(tmp_path / "made" / "model.onnx", {"x": x.numpy(), "scale": scale.numpy()})["output"]
    np.testing.assert_allclose(got, want, atol=1e-5)


def test_what_was_trusted_once_is_refused_again_without_trust(mixer: Path, tmp_path: Path) -> None:
    words: dict[str, object] = {"targets": "ort-mobile", "shapes": {"batch": "2", "width": "16"}}
    words |= {"cache": str(tmp_path / "cache")}
    done = edgekit.convert(mixer, output=tmp_path / "out", trusted=True, **words)  # type: ignore[arg-type]  # a mapping of words
    assert done.passed
    with pytest.raises(SourceError, match="is pickled"):
        edgekit.convert(mixer, output=tmp_path / "two", **words)  # type: ignore[arg-type]  # a mapping of words


def test_trust_runs_what_the_file_says_only_where_tensors_alone_do_not_do(tmp_path: Path) -> None:
    canary = tmp_path / "ran"
    torch.save({"b": Runs(canary)}, tmp_path / "m.pt")
    with pytest.raises(SourceError, match="holds a table"):
        edgekit.export(tmp_path / "m.pt", tmp_path / "made", trusted=True)
    assert canary.is_dir()  # that is what trust means


def test_pickled_weights_of_a_folder_need_trust_and_are_then_the_model(
    pickled_bert: Path, tmp_path: Path
) -> None:
    with pytest.raises(SourceError, match=r"pytorch_model\.bin is pickled.*collections\.OrderedDict"):
        edgekit.export(pickled_bert, tmp_path / "made")
    file = edgekit.export(pickled_bert, tmp_path / "made", trusted=True) / "model.onnx"
    module = hf_models.bert()
    module.load_state_dict(torch.load(pickled_bert / "pytorch_model.bin", weights_only=True))
    ids = torch.randint(0, 50, (2, 16))
    mask = torch.ones_like(ids)
    with torch.no_grad():
        want = module.eval()(input_ids=ids, attention_mask=mask).logits.numpy()
    got = run_onnx(file, {"input_ids": ids.numpy(), "attention_mask": mask.numpy()})["logits"]
    np.testing.assert_allclose(got, want, atol=1e-5)


def test_an_index_of_the_weights_that_are_not_there_is_not_asked(pickled_bert: Path, tmp_path: Path) -> None:
    shards = json.dumps({"weight_map": {"classifier.weight": "model-00001-of-00002.safetensors"}})
    (pickled_bert / "model.safetensors.index.json").write_text(shards)
    assert edgekit.export(pickled_bert, tmp_path / "made", trusted=True)
    other = hf_models.save(hf_models.bert(), tmp_path / "other")
    shards = json.dumps({"weight_map": {"classifier.weight": "pytorch_model-00001-of-00002.bin"}})
    (other / "pytorch_model.bin.index.json").write_text(shards)
    assert edgekit.export(other, tmp_path / "two")


def test_an_id_that_was_trusted_once_is_refused_again_too(
    pickled_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = tmp_path / "hub" / "models--me--bert"
    (hub / "refs").mkdir(parents=True)
    (hub / "refs" / "main").write_text("ab" * 20)
    shutil.copytree(pickled_bert, hub / "snapshots" / ("ab" * 20))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    cache = str(tmp_path / "cache")
    assert open_export(Path("me/bert"), cache, trusted=True).is_file()
    with pytest.raises(SourceError, match=r"pytorch_model\.bin is pickled"):
        open_export(Path("me/bert"), cache)


def test_shapes_alone_read_no_pickles(pickled_bert: Path) -> None:
    before = [export_key(pickled_bert, shape_only=alone) for alone in (True, False)]
    (pickled_bert / "pytorch_model.bin").write_bytes(b"other weights")
    after = [export_key(pickled_bert, shape_only=alone) for alone in (True, False)]
    assert before[0] == after[0]
    assert before[1] != after[1]


def test_shapes_alone_need_no_trust(tmp_path: Path) -> None:
    folder = hf_models.save(hf_models.qwen3(), tmp_path / "qwen")
    (folder / "model.safetensors").unlink()
    torch.save({"w": Runs(tmp_path / "ran")}, folder / "pytorch_model.bin")
    assert (edgekit.export(folder, tmp_path / "made", shape_only=True) / "decode.onnx").exists()
    assert not (tmp_path / "ran").exists()


def test_what_is_no_module_with_inputs_is_refused_though_trusted(tmp_path: Path) -> None:
    module = torch_zoo.FixedWidth()
    torch.jit.save(torch.jit.script(module), tmp_path / "script.pt")
    torch.save(module.state_dict() | {"w": torch.zeros(2)}, tmp_path / "weights.ckpt")
    torch.save(module, tmp_path / "module.pth")
    (tmp_path / "noise.pt").write_bytes(b"\x00\x01\x02 no pickle")
    for name, told in {
        "script.pt": ("is TorchScript", "is TorchScript"),
        "weights.ckpt": (r"holds a table \(w\) and no module", "is pickled"),
        "module.pth": ("without example inputs", "is pickled"),
        "noise.pt": ("can't be loaded", "can't be read"),
    }.items():
        for trusted, problem in zip((True, False), told, strict=True):
            with pytest.raises(SourceError, match=problem):
                edgekit.export(tmp_path / name, tmp_path / "made", trusted=trusted)
    assert not (tmp_path / "made").exists()


def test_a_recipe_file_cannot_trust_and_a_plain_model_needs_none(tmp_path: Path) -> None:
    (tmp_path / "edgekit.toml").write_text('version = 1\nmodel = "m.pt"\ntrusted = true\n')
    told = run("convert", "--recipe", tmp_path / "edgekit.toml", "-t", "ort-mobile")
    assert told.exit_code == 2
    assert "sets 'trusted'" in told.stderr
    (tmp_path / "m.onnx").write_bytes(b"")
    told = run("convert", tmp_path / "m.onnx", "-t", "ort-mobile", "--trust")
    assert told.exit_code == 2
    assert "there is neither" in told.stderr
