"""What the tests of a Core ML bundle's Mac side share: two small packages, the scripts, a stand-in."""

from __future__ import annotations

import importlib.util
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper, shape_inference

from edgekit._values import Artifact, Component, Device
from edgekit.target import Job
from edgekit.targets.coreml.interpret import MilSession
from edgekit.targets.coreml.mac_side import write_mac_side
from edgekit.targets.coreml.package_io import package_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

pytest.importorskip("coremltools")
ROOM = Path(__file__).parents[2] / "targets" / "coreml"
FAKE = Path(__file__).with_name("fake_coremltools.py")
PHONE = Device("iphone-16-pro", "Apple iPhone 16 Pro", "coreml", "ios-18", {"ios-18": {}})


def build(out: Path) -> Artifact:
    """y = 2x, x [1, 3]; input name with a colon, as some have."""
    from edgekit.targets.coreml.build_component import build_component

    graph = helper.make_graph(
        [helper.make_node("Mul", ["x:0", "two"], ["y"], "mul")],
        "double",
        [helper.make_tensor_value_info("x:0", TensorProto.FLOAT, [1, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])],
        [numpy_helper.from_array(np.array(2, np.float32), "two")],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    built = build_component(Component("model", ir.from_proto(proto), "0"), Job(PHONE, "fp32"), out)
    manifest = f"{package_of(built)}/Manifest.json"
    return Artifact("model", "fp32", manifest, built.files, built.runtime, proves=built.proves)


X = np.array([[0.5, -1.25, 3.0]], np.float32)


def load_script(name: str) -> ModuleType:
    """One script, as Python on a Mac imports it: by its plain name, from its own folder."""
    spec = importlib.util.spec_from_file_location(f"mac_{name}", ROOM / "device" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def fake_coremltools() -> Any:
    """The stand-in, without its submodules taking the place of the real ones."""
    kept = {name: module for name, module in sys.modules.items() if name.startswith("coremltools")}
    spec = importlib.util.spec_from_file_location("fake_coremltools", FAKE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules.update(kept)
    return module


def write_built(out: Path) -> tuple[Artifact, list[str]]:
    """The artifact in `out` and the names of its Mac side."""
    artifact = build(out)
    return artifact, write_mac_side([artifact], Job(PHONE, "fp32"), out)


@contextmanager
def scripts_on_path(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The scripts import each other by plain names, which no other test must see."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(ROOM / "device"))
    yield
    for name in set(sys.modules) - before:
        if (ROOM / "device" / f"{name}.py").is_file():
            del sys.modules[name]


class Interpreted:
    """Core ML's place taken by edgekit's interpreter: the very package, fed and read by the scripts."""

    def __init__(self, path: str, compute_units: object = None) -> None:
        from edgekit.targets.coreml.interpret.package import open_package

        self.session = MilSession(Path(path))
        self.user_defined_metadata = dict(open_package(Path(path)).model.description.metadata.userDefined)

    def predict(self, feeds: dict[str, np.ndarray], state: Held | None = None) -> dict[str, np.ndarray]:
        return self.session.run(feeds, state=None if state is None else state.values)

    def make_state(self) -> Held:
        return Held(self.session.new_state())


class Held:
    """coremltools' MLState: zeros, until something is written."""

    def __init__(self, values: dict[str, np.ndarray]) -> None:
        self.values = values

    def write_state(self, name: str, value: np.ndarray) -> None:
        assert value.dtype == self.values[name].dtype
        assert value.shape == self.values[name].shape
        self.values[name] = value

    def read_state(self, name: str) -> np.ndarray:
        return self.values[name]


def with_integers(out: Path) -> Artifact:
    """y = x * k and n = -k, with a scalar int64 k: what Core ML takes as int32[1]."""
    from edgekit.targets.coreml.build_component import build_component

    k = helper.make_tensor_value_info("k", TensorProto.INT64, [])
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["k"], ["f"], "cast", to=TensorProto.FLOAT),
            helper.make_node("Mul", ["x", "f"], ["y"], "mul"),
            helper.make_node("Neg", ["k"], ["n"], "neg"),
        ],
        "integers",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3]), k],
        [
            helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3]),
            helper.make_tensor_value_info("n", TensorProto.INT64, []),
        ],
        [],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    proto = shape_inference.infer_shapes(proto)
    return build_component(Component("model", ir.from_proto(proto), "0"), Job(PHONE, "fp32"), out)


FEEDS: dict[str, np.ndarray] = {"x": X, "k": np.array(3, np.int64)}
WANT: dict[str, np.ndarray] = {"y": 3 * X, "n": np.array(-3, np.int64)}

Built = tuple[Path, Artifact, list[str]]
