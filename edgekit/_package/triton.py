"""A Triton model repository: one model an artifact, warmed up with the golden inputs, and an ensemble."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit._package.choose_artifacts import runtime_of
from edgekit._package.copy_artifact import copy_artifact
from edgekit._package.text_proto import Word, render_message
from edgekit.errors import TargetError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgekit._bundle import Bundle
    from edgekit._package.job import PackageJob
    from edgekit._values import Artifact

    Row = Mapping[str, Any]

_VERSION = "1"
_JETSON = "tensorrt"


def write_triton(job: PackageJob, out: Path) -> list[str]:
    """`out` becomes a model repository; shapes are whole (no batch dimension of Triton's own is added).

    A tensorrt bundle also gets the place for the engine that the device builds itself. TargetError for an
    element type that Triton has not.
    """
    bundle, artifacts, name = job.bundle, job.artifacts, job.name
    components = {row["name"]: row for row in bundle.manifest["components"]}
    single = len({artifact.component for artifact in artifacts}) == 1
    made: dict[str, dict[str, str]] = {}
    for artifact in artifacts:
        parts = (name, artifact.variant) if single else (name, artifact.component, artifact.variant)
        model = "-".join(parts)
        made.setdefault(artifact.variant, {})[artifact.component] = model
        _write_model(bundle, artifact, components[artifact.component], folder=out / model)
    notes = [f"{len(artifacts)} models; load one with tritonserver --model-repository=DIR"]
    for variant, models in made.items():
        if len(models) == len(components) > 1:
            notes += _write_ensemble(components, models, f"{name}-{variant}", out)
    if bundle.target == _JETSON:
        notes += [
            _prepare_engine(components[item.component], item, out / _engine_name(name, item, single))
            for item in artifacts
            if item.variant == artifacts[0].variant
        ]
    return notes


def _write_model(bundle: Bundle, artifact: Artifact, component: Row, *, folder: Path) -> None:
    version = folder / _VERSION
    version.mkdir(parents=True)
    copy_artifact(bundle, artifact, version)
    config = {
        "name": folder.name,
        "backend": runtime_of("triton", artifact),
        "default_model_filename": artifact.main,
        **_described(component),
        "instance_group": [{"count": 1, "kind": Word("KIND_AUTO")}],
        "parameters": _parameters(bundle, artifact),
        "model_warmup": _write_warmup(bundle, artifact, component, folder),
    }
    (folder / "config.pbtxt").write_text(render_message(config), encoding="utf-8")


def _described(component: Row) -> dict[str, object]:
    """max_batch_size, input and output of a model's configuration."""
    return {
        "max_batch_size": 0,
        "input": [_tensor(row) for row in component["inputs"]],
        "output": [_tensor(row) for row in component["outputs"]],
    }


def _tensor(row: Row) -> dict[str, object]:
    dims = [size if isinstance(size, int) else -1 for size in row["shape"]]
    # Triton refuses an empty list: a scalar is one element that is reshaped to none.
    shape: dict[str, object] = {"dims": dims} if dims else {"dims": [1], "reshape": {"shape": []}}
    return {"name": row["name"], "data_type": Word(_type(row["dtype"], row["name"])), **shape}


def _type(dtype: str, name: str) -> str:
    found = _types().get(dtype)
    if found is None:
        raise TargetError(
            f"Triton has no element type for '{name}', which is {dtype}",
            fix="cast it to float32 in the model",
        )
    return found


def _parameters(bundle: Bundle, artifact: Artifact) -> list[object]:
    """Which bundle the model came from, and its share of int8: what a server's metadata can tell."""
    words = {"edgekit_bundle": bundle.digest, "edgekit_variant": artifact.variant}
    if artifact.macs is not None:
        words["edgekit_int8_mac_share"] = f"{artifact.macs.share:.4f}"
    return [{"key": key, "value": {"string_value": value}} for key, value in words.items()]


def _write_warmup(bundle: Bundle, artifact: Artifact, component: Row, folder: Path) -> list[object]:
    """One golden sample as raw files beside the configuration; the first request then meets a warm model."""
    feeds = bundle.stored_golden(artifact.component).samples[0].feeds
    (folder / "warmup").mkdir()
    inputs: list[object] = []
    for place, row in enumerate(component["inputs"]):
        values = np.ascontiguousarray(feeds[row["name"]])
        (folder / "warmup" / f"input-{place}").write_bytes(values.tobytes())
        given = {
            "dims": list(values.shape) or [1],
            "data_type": Word(_type(row["dtype"], row["name"])),
            "input_data_file": f"input-{place}",
        }
        inputs.append({"key": row["name"], "value": given})
    return [{"name": "golden sample 0", "batch_size": 1, "inputs": inputs}]


def _write_ensemble(
    components: Mapping[str, Row], models: Mapping[str, str], name: str, out: Path
) -> list[str]:
    """One model that runs the components in their order, joined where an output and an input share a name."""
    made = {row["name"]: owner for owner, each in components.items() for row in each["outputs"]}
    fed: dict[str, Row] = {}
    for each in components.values():
        for row in each["inputs"]:
            if row["name"] not in made:
                fed[row["name"]] = row
    used = {row["name"] for each in components.values() for row in each["inputs"]}
    ends = [row for each in components.values() for row in each["outputs"] if row["name"] not in used]
    if not used & made.keys() or not ends:
        return ["no ensemble: no component's output has the name of another one's input"]
    steps = [
        {
            "model_name": models[owner],
            "model_version": -1,
            "input_map": [{"key": row["name"], "value": row["name"]} for row in each["inputs"]],
            "output_map": [{"key": row["name"], "value": row["name"]} for row in each["outputs"]],
        }
        for owner, each in components.items()
    ]
    config = {
        "name": name,
        "platform": "ensemble",
        **_described({"inputs": list(fed.values()), "outputs": ends}),
        "ensemble_scheduling": {"step": steps},
    }
    (out / name / _VERSION).mkdir(parents=True)
    (
        out / name / _VERSION / "empty"
    ).touch()  # Triton wants the version's folder, and archives lose empty ones
    (out / name / "config.pbtxt").write_text(render_message(config), encoding="utf-8")
    return [f"ensemble {name}: {' -> '.join(models)}"]


def _engine_name(name: str, artifact: Artifact, single: bool) -> str:
    return f"{name}-engine" if single else f"{name}-{artifact.component}-engine"


def _prepare_engine(component: Row, artifact: Artifact, folder: Path) -> str:
    """The place of the engine, which only the device itself can build."""
    (folder / _VERSION).mkdir(parents=True)
    config = {"name": folder.name, "backend": "tensorrt", "default_model_filename": "model.plan"}
    text = render_message({**config, **_described(component)})
    (folder / "config.pbtxt.template").write_text(text, encoding="utf-8")
    (folder / "README.md").write_text(_ENGINE_WORDS.format(main=artifact.main), encoding="utf-8")
    return f"{folder.name}: no engine is in it; its README says how the device makes one"


_ENGINE_WORDS = """# A TensorRT engine goes here

An engine fits one GPU and one TensorRT version, so the device builds its own:

1. On the device, run `device/run.sh` of the bundle; it builds an engine of {main}.
2. Copy the engine it names to `1/model.plan` here.
3. Rename `config.pbtxt.template` to `config.pbtxt`. Until then Triton does not list this model.
"""


@cache
def _types() -> dict[str, str]:
    text = Path(__file__).with_name("platforms.toml").read_text(encoding="utf-8")
    found: dict[str, str] = tomllib.loads(text)["triton_types"]
    return found
