"""The wheel: every tracked file of the four folders is in it once, and it works outside the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from collections import Counter
from pathlib import Path, PurePosixPath

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

ROOT = Path(__file__).parents[1]
PLACES = {
    "edgekit": "edgekit",
    "targets": "edgekit/targets",
    "calibration": "edgekit/calibration",
    "profiles": "edgekit/profiles",
}


def run(command: list[str | Path], cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        command, cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout


@pytest.fixture(scope="session")
def tracked() -> list[str]:
    return run(["git", "ls-files"], ROOT).splitlines()


def list_packaged(tracked: list[str]) -> dict[str, str]:
    """Tracked file -> where it must lie in the wheel; the three symlinks are none."""
    return {
        name: "/".join([PLACES[name.split("/")[0]], *name.split("/")[1:]])
        for name in tracked
        if name.split("/")[0] in PLACES and (ROOT / name).is_file() and not (ROOT / name).is_symlink()
    }


@pytest.fixture(scope="session")
def wheel(tracked: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    checkout, out = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("wheel")
    for name in tracked:
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).exists():
            shutil.copy2(ROOT / name, checkout / name, follow_symlinks=False)
    said = run([sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", out, "."], checkout)
    assert "is absent from the `packages` configuration" not in said
    return next(out.glob("*.whl"))


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a fresh environment that holds the wheel; libraries come from this one by a path file."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    run(
        [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel], folder
    )
    site = Path(run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], folder).strip())
    # addsitedir would follow this environment's editable edgekit; a plain line does not.
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def test_the_package_list_names_every_folder_with_tracked_files(tracked: list[str]) -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {
        str(PurePosixPath(place).parent).replace("/", ".") for place in list_packaged(tracked).values()
    }
    assert set(listed) == folders
    assert len(listed) == len(set(listed))


def test_the_wheel_holds_every_tracked_file_exactly_once(tracked: list[str], wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = Counter(name for name in archive.namelist() if name.startswith("edgekit/"))
    assert held == Counter(list_packaged(tracked).values())


def test_the_installed_wheel_imports_every_module_outside_the_checkout(
    installed: Path, tracked: list[str], tmp_path: Path
) -> None:
    modules = sorted(
        place.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for place in list_packaged(tracked).values()
        if place.endswith(".py") and "/device/" not in place and "/templates/" not in place
    )
    script = f"""
import importlib, pathlib, edgekit
for name in {modules!r}:
    importlib.import_module(name)
assert not pathlib.Path(edgekit.__file__).is_relative_to({str(ROOT / "edgekit")!r}), edgekit.__file__
"""
    run([installed, "-c", script], tmp_path)


def test_the_installed_wheel_converts_a_model_outside_the_checkout(installed: Path, tmp_path: Path) -> None:
    weight = np.random.default_rng(0).normal(0, 0.3, (4, 3, 3, 3)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w"], ["c"], name="conv", pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["c"], ["y"], name="relu"),
        ],
        "toy",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4, 8, 8])],
        [numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "toy.onnx")
    command = ["convert", "toy.onnx", "--target", "ort-mobile", "--samples", "random", "-o", "out"]
    run([installed.parent / "edgekit", *command], tmp_path, XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert list((tmp_path / "out").rglob("*.ort"))
    assert list((tmp_path / "out").rglob("manifest.json"))
