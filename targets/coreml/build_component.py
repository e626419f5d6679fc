"""One prepared component -> its .mlpackage."""

from __future__ import annotations

import json
from importlib.metadata import version
from typing import TYPE_CHECKING

from edgekit._values import Artifact
from edgekit.errors import GapError
from edgekit.targets.coreml.artifact_macs import count_macs
from edgekit.targets.coreml.caches import find_caches
from edgekit.targets.coreml.check_component import lower_job
from edgekit.targets.coreml.deployment import level_of
from edgekit.targets.coreml.input_forms import describe_inputs
from edgekit.targets.coreml.lower import numpy_name
from edgekit.targets.coreml.mac_session import words_of_proof
from edgekit.targets.coreml.options import float_of, read_options
from edgekit.targets.coreml.palettize import palettize
from edgekit.targets.coreml.session import IO_KEY
from edgekit.targets.coreml.tensor_names import name_tensors
from edgekit.targets.coreml.write_package import lower_program, quiet, require_coremltools, write_package
from edgekit.targets.coreml.write_program import ProgramWriter

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from edgekit._values import Component
    from edgekit.target import Job
    from edgekit.targets.coreml.options import Options, Picture

PROVES = (
    "this host read the saved .mlpackage back and evaluated its program with edgekit's own MIL interpreter "
    "(fp16 rounding where the program says fp16): it holds this graph, these weights and these scales. "
    "Apple's compiler and hardware have not seen it; latency is not shown"
)


def build_component(component: Component, job: Job, out: Path) -> Artifact:
    """Write the package of one variant into `out`; GapError, nothing written, where a node has no form."""
    level = level_of(job)
    lowered, gaps = lower_job(component, job)
    if lowered.gaps:
        raise GapError(
            f"{len(lowered.gaps)} node(s) have no Core ML form, the first is {lowered.gaps[0]}",
            fix="`edgekit check` lists them all, each with its way out",
            gaps=gaps,
        )
    require_coremltools()
    options, notes = read_options(job), []
    if options.palettize is not None:
        count = palettize(lowered.graph, options.palettize)
        notes.append(f"{count} weights are tables of {2**options.palettize} values and indices into them")
    caches = find_caches(component, options)
    if options.states or caches:
        held = ", ".join((*options.states, *caches))
        notes.append(f"states in float16, kept from run to run: {held}")
    writer = ProgramWriter(lowered.graph, level)
    with quiet():
        program = writer.write()
    inputs = describe_inputs(lowered.graph, job, options, writer.names)
    model = lower_program(program, level, float_of(job), inputs)
    name = f"{component.name}.{job.precision}.mlpackage"
    spec = model.get_spec()
    tensors = name_tensors(spec, writer.names)
    files = write_package(model, out / name, _metadata(component, options, writer.names))
    return Artifact(
        component=component.name,
        variant=job.precision,
        main=name,
        files=files,
        runtime=f"Core ML iOS{level} (specification {spec.specificationVersion})",
        macs=count_macs(out / name),
        tensors=tensors,
        notes=(f"written by coremltools {version('coremltools')}; floats are {float_of(job)}", *notes),
        proves=words_of_proof(PROVES),
    )


def _metadata(component: Component, options: Options, names: Mapping[str, str]) -> dict[str, str]:
    """The source's own metadata, and how Core ML's inputs and outputs stand for the source's."""
    caches = find_caches(component, options)
    graph, held = component.model.graph, {*options.states, *options.states.values(), *caches}
    io = {
        kind: [
            {
                "name": value.name,
                "coreml": names[value.name or ""],
                "dtype": "float32" if value.dtype is None else numpy_name(value.dtype),
                "rank": 0 if value.shape is None else len(value.shape),
            }
            | _picture_row(options.image.get(value.name or "") if kind == "inputs" else None)
            for value in values
            if value.name not in held
        ]
        for kind, values in (("inputs", graph.inputs), ("outputs", graph.outputs))
    }
    kept = {key: str(text) for key, text in component.model.metadata_props.items()}
    pairs = [*options.states.items(), *((name, "") for name in caches)]
    io["states"] = [_state_row(component, pair, names) for pair in pairs]
    return {**kept, IO_KEY: json.dumps(io, sort_keys=True)}


def _state_row(component: Component, pair: tuple[str, str], names: Mapping[str, str]) -> dict[str, object]:
    """One state under its input's name, with the output whose value it takes over, "" for a cache."""
    value = next(item for item in component.model.graph.inputs if item.name == pair[0])
    dtype = "float32" if value.dtype is None else numpy_name(value.dtype)
    rank = 0 if value.shape is None else len(value.shape)
    return {"name": pair[0], "output": pair[1], "coreml": names[pair[0]], "dtype": dtype, "rank": rank}


def _picture_row(picture: Picture | None) -> dict[str, object]:
    return {} if picture is None else {"image": {"scale": picture.scale, "bias": list(picture.bias)}}
