"""One prepared component -> the context of each chip, and the Q/DQ graph that a phone can compile itself."""

from __future__ import annotations

import json
import math
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit._cost import count_macs
from edgekit._qdq.find_tail import TINY, find_tail
from edgekit._values import Artifact, Gap
from edgekit.passes.serialize_model import save_model
from edgekit.target import refuse_fallbacks
from edgekit.targets.qnn.chips import chips_of
from edgekit.targets.qnn.compile_contexts import MODEL, compile_context
from edgekit.targets.qnn.leave_softmax import cut_tail, finish_context
from edgekit.targets.qnn.library import version
from edgekit.targets.qnn.options import read_options
from edgekit.targets.qnn.prepare_htp import prepare_htp

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx_ir as ir

    from edgekit._values import Component, Device, MacShare
    from edgekit.target import Job
    from edgekit.targets.qnn.chips import Chip
    from edgekit.targets.qnn.compile_contexts import Context
    from edgekit.targets.qnn.options import Options
    from edgekit.targets.qnn.partition import Partition

PROVES = (
    "this host executed the compiled HTP graph with Qualcomm's own x86 library: it loads, and its integer "
    "arithmetic gives these numbers. It is not the phone: the HTP itself, its memory, its time and its power "
    "are not shown, and equality with a chip to the bit is not promised by Qualcomm"
)
PROVES_FLOAT = (
    "this host ran the ONNX file on onnxruntime's CPU provider: what a phone's CPU falls back to. No ARM CPU "
    "and no HTP was used"
)

# Numbers that a tensor of the end may have which is left to the CPU, by qnn.last-softmax.
_MOST_KEPT = {"auto": TINY, "cpu": math.inf, "htp": 0}


def build_component(component: Component, job: Job, out: Path) -> Artifact:
    """Write one variant into `out`; the component's model stays unchanged.

    MissingToolError without Qualcomm's library, TargetError where its compiler fails, GapError where a node
    falls back and the options refuse that.
    """
    if job.precision == "fp32":
        return _build_float(component, out)
    options = read_options(job)
    chips = chips_of(job.device, options.chips)
    model, notes = prepare_htp(component.model, chips)
    stem = f"{component.name}.{job.precision}"
    source = save_model(model, out / f"{stem}.qdq.onnx" if job.precision == "int8" else out / f"{stem}.onnx")
    contexts = _compile_contexts(model, source[0], stem=stem, chips=chips, options=options)
    if options.fallback == "refuse":
        refuse_fallbacks([gap for one in contexts for gap in list_gaps(component.name, one.partition)])
    report = _write_report(contexts, out, stem)
    main = contexts[0]
    files = [
        path.relative_to(out).as_posix() for one in contexts for path in sorted((out / one.folder).iterdir())
    ]
    return Artifact(
        component=component.name,
        variant=job.precision,
        main=main.folder,
        files=(*files, *(one.trace for one in contexts), *(path.name for path in source), report),
        runtime=f"onnxruntime-qnn {version()}",
        macs=_count_macs(model, main.partition),
        notes=(*notes, *_words(contexts), *_foreign(job.device, chips)),
        proves=PROVES,
        placements=tuple(
            row
            for one in contexts
            for row in one.partition.placements(one.chip, f"onnxruntime-qnn {version()}")
        ),
    )


def _compile_contexts(
    model: ir.Model, source: Path, *, stem: str, chips: Sequence[Chip], options: Options
) -> list[Context]:
    """A context a chip beside `source`; the end of the graph behind it on the CPU, where that is chosen."""
    tail = find_tail(model, _MOST_KEPT[options.last_softmax])
    kept = tuple(f"{node.op_type} '{node.name}'" for node in tail)
    out, made = source.parent, []
    with tempfile.TemporaryDirectory(prefix="edgekit-") as scratch:
        head = save_model(cut_tail(model, tail), Path(scratch) / source.name)[0] if tail else source
        for chip in chips:
            folder = f"{stem}.v{chip.htp_arch}.{chip.name}"
            one = compile_context(head, chip, out=out, folder=folder, vtcm_mb=options.vtcm_mb)
            finish_context(out / folder / MODEL, model, tail)
            made.append(replace(one, partition=replace(one.partition, kept=kept)))
    return made


def list_gaps(component: str, partition: Partition) -> list[Gap]:
    """Each node that stays on the CPU, as a warning."""
    return [
        Gap(
            "qnn",
            component,
            fallback.node,
            fallback.op,
            f"runs on the CPU: {fallback.reason}",
            fallback.way_out,
            severity="warning",
        )
        for fallback in partition.fallbacks
    ]


def _build_float(component: Component, out: Path) -> Artifact:
    import onnxruntime as ort

    files = save_model(component.model, out / f"{component.name}.fp32.onnx")
    return Artifact(
        component=component.name,
        variant="fp32",
        main=files[0].name,
        files=tuple(path.name for path in files),
        runtime=f"onnxruntime {ort.__version__}",
        macs=count_macs(component.model),
        proves=PROVES_FLOAT,
    )


def _words(contexts: Sequence[Context]) -> list[str]:
    told = [f"{one.chip.name} (v{one.chip.htp_arch}): {one.partition.words()}" for one in contexts]
    if len(contexts) > 1:
        others = ", ".join(one.chip.name for one in contexts[1:])
        told.append(
            f"the context of {contexts[0].chip.name} is the one that was executed; {others}: compiled only"
        )
    return told


def _foreign(device: Device, chips: Sequence[Chip]) -> list[str]:
    """What to say where the user chose chips and the device's own is not among them."""
    own = device.facts.get("chip")
    if own is None or own in {chip.name for chip in chips}:
        return []
    named = ", ".join(f"{chip.name} (v{chip.htp_arch})" for chip in chips)
    return [f"compiled for {named} as asked, NOT for {device.name}'s own {own}"]


def _write_report(contexts: Sequence[Context], out: Path, stem: str) -> str:
    """What stays on the CPU for each chip, with the reason and the way out."""
    name = f"{stem}.partition.json"
    rows = [
        {"chip": one.chip.name, "htp_arch": one.chip.htp_arch, "soc_model": one.chip.soc_model}
        | one.partition.as_json()
        for one in contexts
    ]
    table = {"schema": "edgekit.qnn-partition/1", "compiler": f"onnxruntime-qnn {version()}", "chips": rows}
    (out / name).write_text(json.dumps(table, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return name


def _count_macs(model: ir.Model, partition: Partition) -> MacShare | None:
    """The products whose operands the CPU restores run in float on the HTP, and count so."""
    restored = {fallback.node for fallback in partition.fallbacks}
    in_float = {
        node
        for node in model.graph
        if any((maker := value.producer()) and maker.name in restored for value in node.inputs if value)
    }
    return count_macs(model, in_float)
