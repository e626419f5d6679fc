"""PyTorch sources: what is exported equals the module, and what cannot be is told in the user's terms."""

from __future__ import annotations

import io
import json
import re
import shutil
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
import torch

import edgekit
from edgekit._recipe import Recipe
from edgekit._recipe_file import load_recipe, save_recipe
from edgekit.errors import EdgekitError, OutputError, SourceError, UsageError
from tests.converted import ORT, run
from tests.models import run_onnx
from tests.sources import torch_zoo

if TYPE_CHECKING:
    from collections.abc import Callable

ZOO = "tests.sources.torch_zoo"


@pytest.fixture(scope="module")
def mixer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`mixer` exported; the ONNX file."""
    return edgekit.export(f"{ZOO}:mixer", tmp_path_factory.mktemp("mixer") / "made") / "model.onnx"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The mixer as torch.export.save writes it, with an open batch."""
    module, inputs, _ = torch_zoo.mixer()
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(module, (), inputs, dynamic_shapes={"x": {0: batch}, "scale": None})
    path = tmp_path_factory.mktemp("archive") / "m.pt2"
    torch.export.save(program, path)
    return path


def equals_module(path: Path, sizes: tuple[int, ...]) -> None:
    random = torch.Generator().manual_seed(9)
    x, scale = torch.randn(sizes, generator=random), torch.tensor(0.5)
    with torch.no_grad():
        want = torch_zoo.Mixer()(x, scale).numpy()
    got = run_onnx(path, {"x": x.numpy(), "scale": scale.numpy()})["output"]
    np.testing.assert_allclose(got, want, atol=1e-5)


def test_a_factory_becomes_onnx_with_the_names_and_open_dims_it_gave(mixer: Path) -> None:
    graph = onnx.load(mixer).graph
    dims = {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in graph.input
    }
    assert dims == {"x": ["batch", 3, 8, "width"], "scale": []}
    (output,) = graph.output
    assert [dim.dim_param or dim.dim_value for dim in output.type.tensor_type.shape.dim] == ["batch", 4]
    for sizes in ((2, 3, 8, 6), (5, 3, 8, 11), (1, 3, 8, 4)):
        equals_module(mixer, sizes)


def test_the_file_says_nothing_of_the_machine_that_made_it(mixer: Path) -> None:
    assert str(Path(torch_zoo.__file__).parent).encode() not in mixer.read_bytes()


def test_a_factory_is_converted_like_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("convert", f"{ZOO}:mixer_in_order", "-t", "ort-mobile", "--no-cache")
    assert result.exit_code == 0, result.output
    equals_module(tmp_path / "mixer_in_order-edgekit" / ORT / "model.fp32.ort", (2, 3, 8, 6))


def test_a_pt2_archive_is_loaded_with_its_inputs_and_open_dims(archive: Path, tmp_path: Path) -> None:
    made = edgekit.export(archive, tmp_path / "made") / "model.onnx"
    for batch in (2, 7):
        equals_module(made, (batch, 3, 8, 6))
    first, second = run("inspect", archive, "--json"), run("inspect", made, "--json")
    assert json.loads(first.stdout)["model"]["digest"] == json.loads(second.stdout)["model"]["digest"]


class Runs:
    """Unpickling it writes a file."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return (Path.touch, (self.canary,))


def rewrite(archive: Path, out: Path, changes: dict[str, Callable[[bytes], bytes]]) -> Path:
    """A copy with members whose name ends so changed."""
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            for ending, change in changes.items():
                data = change(data) if name.endswith(ending) else data
            new.writestr(name, data)
    return out


def test_a_pt2_archive_never_unpickles_what_it_holds(archive: Path, tmp_path: Path) -> None:
    canary, stored = tmp_path / "ran", io.BytesIO()
    torch.save(((Runs(canary),), {}), stored)
    torch.load(io.BytesIO(stored.getvalue()), weights_only=False)
    assert canary.exists()  # the attack works on torch itself
    canary.unlink()
    inputs = rewrite(archive, tmp_path / "a.pt2", {"sample_inputs/model.pt": lambda _: stored.getvalue()})
    with pytest.raises(SourceError, match="sample inputs hold more than tensors"):
        edgekit.export(inputs, tmp_path / "made")
    pickled = {
        "weight_0": lambda _: stored.getvalue(),
        "weights_config.json": lambda data: data.replace(b'"use_pickle": false', b'"use_pickle": true', 1),
    }
    weights = rewrite(archive, tmp_path / "b.pt2", pickled)
    with pytest.raises(SourceError, match="is pickled, and unpickling runs code"):
        edgekit.export(weights, tmp_path / "made")
    assert not canary.exists()
    assert not (tmp_path / "made").exists()


AT = r".*torch_zoo\.py:\d+ in "
BAD = {
    "branching": rf"numbers in a tensor at module 'head', {AT}forward: `if x\.sum\(\) > 0:.*torch\.where",
    "fixed_width": r"a dim that you call open, batch, is always 2 in the code",
    "no_onnx": rf"torch's '\S*eig\S*' has no ONNX form at {AT}forward: `return torch.linalg",
    "broken": rf"raised RuntimeError on its example inputs: .* at module 'head', {AT}forward: `return x @ x`",
    "noisy": r"output 'output' differs from the module's by .*without random numbers in forward",
    "raising": rf"raised ValueError: no checkpoint here at {AT}raising",
    "nothing": r"returned a str; return \(module, inputs\)",
    "no_inputs": r"gives no example inputs",
    "single_size": r"has 1 in the example; give an example of 2 or more",
    "two_sizes": r"dim 'batch' has 3 here and 2 in another input",
    "absent": r"can't be imported: AttributeError",
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_exported_is_told_with_module_line_and_way_out(name: str, tmp_path: Path) -> None:
    with pytest.raises(EdgekitError) as told:
        edgekit.export(f"{ZOO}:{name}", tmp_path / "made")
    assert re.search(BAD[name], str(told.value)), str(told.value)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_without_room_is_told_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9 - 100, 100))
    monkeypatch.setattr("edgekit.sources.export_torch.export_torch", lambda *_: pytest.fail("it started"))
    with pytest.raises(OutputError, match=r"the weights take 0\.0 GB, .* has 0\.0 GB"):
        edgekit.export(f"{ZOO}:mixer", tmp_path / "made")


def test_a_recipe_that_names_a_factory_runs_only_with_trust(tmp_path: Path) -> None:
    save_recipe(Recipe.of(f"{ZOO}:mixer", targets="ort-mobile"), tmp_path / "edgekit.toml")
    with pytest.raises(UsageError, match="names code to run: model"):
        load_recipe(tmp_path / "edgekit.toml")
    assert str(load_recipe(tmp_path / "edgekit.toml", trust="code").model) == f"{ZOO}:mixer"


def test_an_output_folder_that_exists_is_kept(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    with pytest.raises(OutputError, match="exists"):
        edgekit.export(f"{ZOO}:mixer", tmp_path / "made")
    assert run("export", "m.onnx", "-o", tmp_path / "new").exit_code == 2
