"""Real models: each converts with parity in float32 and float16."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from edgekit.passes.expand_functions import expand_functions
from edgekit.passes.prepare_component import prepare_component
from edgekit.sources.bound_file import load_bound
from tests.models import (
    PACKAGE_MODELS,
    QUICK_SHAPES,
    assert_same_outputs,
    package_model,
    random_feeds,
    run_onnx,
)
from tests.targets.coreml_models import TARGET, Ask, build, open_saved, ranges_of

if TYPE_CHECKING:
    from pathlib import Path

    from edgekit._values import Component

FP16_TOLERANCE = {"basic-pitch": 0.02, "ppocr-rec": 0.02}


def component_of(name: str) -> Component:
    """As a convert prepares it; an input `sr` that never changes is bound."""
    shapes = {key: dims for key, dims in QUICK_SHAPES[name].items() if key != "sr"}
    bind = {"sr": "16000"} if "sr" in QUICK_SHAPES[name] else {}
    component = prepare_component(load_bound(package_model(name), bind), shapes=ranges_of(shapes))
    expand_functions(component.model, TARGET.plan([component], Ask().job).expand)
    return component


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("name", PACKAGE_MODELS)
def test_a_real_model_keeps_its_outputs(name: str, precision: str, tmp_path: Path) -> None:
    component = component_of(name)
    ask = Ask("fp32" if precision == "fp32" else "fp16")
    feeds = random_feeds(QUICK_SHAPES[name], package_model(name))
    feeds = {value.name or "": feeds[value.name or ""] for value in component.model.graph.inputs}
    got = open_saved(build(component, tmp_path, ask), tmp_path).run(feeds)
    expected = run_onnx(component.model, feeds)
    if precision == "fp32":
        assert_same_outputs(got, expected, rtol=1e-3, atol=1e-4)
        return
    for output, values in expected.items():
        np.testing.assert_allclose(got[output], values, atol=FP16_TOLERANCE.get(name, 0.01))
