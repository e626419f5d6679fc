"""Every Q/DQ ONNX made of the real models parses with no error in the RTX parser, and passes the lint."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from edgekit._qdq import QdqForm, insert_qdq
from edgekit._schemes import PORTABLE
from edgekit._values import DimRange, Precision
from edgekit.calibration.observe_ranges import observe_ranges
from edgekit.calibration.samples import load_samples
from edgekit.errors import SamplesError
from edgekit.passes.prepare_component import prepare_component
from edgekit.profiles.loader import device_files, load_device
from edgekit.sources.graph_io import inputs_of
from edgekit.sources.onnx_file import load_onnx
from edgekit.target import Job
from edgekit.targets.tensorrt import TensorRT
from edgekit.targets.tensorrt.rtx_parser import parse_with_rtx
from tests.models import PACKAGE_MODELS, QUICK_SHAPES, package_model

if TYPE_CHECKING:
    from pathlib import Path

    from edgekit._values import Component


def _component(name: str) -> Component:
    shapes = {key: tuple(DimRange(dim, dim) for dim in dims) for key, dims in QUICK_SHAPES[name].items()}
    return prepare_component(load_onnx(package_model(name)), shapes=shapes)


def _quantized(component: Component) -> Component:
    samples = load_samples("random", inputs_of(component.model), preprocess=None, limit=1)
    record = observe_ranges(component, samples)
    return insert_qdq(component, record, form=QdqForm(PORTABLE, "float")).component


IMPOSSIBLE_BRANCH = pytest.mark.xfail(
    raises=SamplesError,
    strict=True,
    reason="random sample rates take silero's 8 kHz branch, which cannot run at 1x576",
)
MODELS = [pytest.param(name, marks=IMPOSSIBLE_BRANCH if name == "silero" else ()) for name in PACKAGE_MODELS]


@pytest.mark.filterwarnings("ignore:samples are RANDOM numbers")
@pytest.mark.parametrize("name", MODELS)
def test_every_variant_of_a_real_model_parses_with_no_error(name: str, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx")
    target = TensorRT()
    path = next(path for path in device_files("tensorrt") if path.stem == "jetson-orin-nano-8gb")
    component = _component(name)
    forms: dict[Precision, Component] = {
        "fp32": component,
        "fp16": component,
        "int8": _quantized(component),
    }
    for precision, form in forms.items():
        job = Job(load_device(path), precision)
        assert [str(gap) for gap in target.check([form], job) if gap.severity == "error"] == []
        (artifact,) = target.build([form], job, tmp_path)
        assert parse_with_rtx(tmp_path / artifact.main) == [], precision
