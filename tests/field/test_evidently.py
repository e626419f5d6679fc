"""Evidently on what edgekit gives it: the same distances, and no name of a stranger in its scripts."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

import edgekit
from edgekit._monitor.device.monitor import Monitor
from edgekit.errors import MissingToolError, UsageError
from edgekit.reports.evidently_page import list_columns
from tests.converted import make_bundle, run
from tests.package.platform_environment import run_there

if TYPE_CHECKING:
    from pathlib import Path

    from edgekit._field import DriftResult


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("evidently"))


@pytest.fixture
def field(bundle: Path, tmp_path: Path) -> Path:
    monitor, draw = Monitor(edgekit.verify(bundle).digest, share=1.0), np.random.default_rng(1)
    for _ in range(40):
        monitor.observe({"x": draw.normal(1, 1, (1, 3, 16, 16))}, {"y": draw.random((1, 10)) / 5}, 0.01)
    monitor.write_json(str(tmp_path / "gate.json"))
    return tmp_path / "gate.json"


def test_evidently_finds_the_same_distances_and_makes_its_page(
    bundle: Path, field: Path, tmp_path: Path
) -> None:
    result = edgekit.drift(bundle, field)
    columns, page = tmp_path / "columns.json", tmp_path / "page.html"
    columns.write_text(json.dumps(list_columns(result)))
    found = run_there("evidently", "read_evidently.py", columns, "0.5", page)
    assert found.keys() == {"model input x", "model output y"}
    for one in result.tensors:
        assert one.distances is not None
        theirs = found[f"model {one.side} {one.tensor}"]
        assert theirs == pytest.approx(one.distances.wasserstein, rel=0.1, abs=0.02)
    assert found["model input x"] == pytest.approx(1.0, abs=0.1)
    text = page.read_text()
    assert "Drift is detected" in text
    assert "model input x" in text


def test_names_are_made_harmless_and_stay_apart(bundle: Path, field: Path) -> None:
    result = edgekit.drift(bundle, field)
    x = result.tensors[0]
    columns = list_columns(_with_names(result, ["</script><b>", ">/script><b>", "\u202ea/b:0"]))
    assert list(columns) == [
        "model input _/script__b_",
        "model input _/script__b_ 1",
        "model input _a/b:0",
    ]
    assert {one[0] for one in columns.values()} == {x.curves.baseline}
    assert len(list_columns(_with_names(result, ["a", "a 2", "a"]))) == 3


def _with_names(result: DriftResult, names: list[str]) -> DriftResult:
    return replace(result, tensors=tuple(replace(result.tensors[0], tensor=name) for name in names))


def test_without_evidently_or_a_folder_it_is_one_line(bundle: Path, field: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="name a folder with -o"):
        edgekit.drift(bundle, field, evidently=True)
    told = run("drift", bundle, field, "--evidently", "-o", tmp_path / "page")
    assert told.exit_code == MissingToolError.exit_code
    assert 'pip install "edgekit[evidently]"' in told.output
    assert not (tmp_path / "page").exists()
    # Before any work: neither the bundle nor a field file is looked at.
    told = run("drift", tmp_path / "none", tmp_path / "nothing", "--evidently", "-o", tmp_path / "page")
    assert 'pip install "edgekit[evidently]"' in told.output
