"""README.md of a bundle, where the target brings none: what is inside, what it takes, what was proven."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from edgekit._bundle.draft import BundleDraft, ComponentDraft
    from edgekit._results import OutputParity, Parity
    from edgekit._values import Artifact, MacShare


def render_readme(draft: BundleDraft) -> str:
    """The whole README as Markdown."""
    return "\n".join(_lines(draft)).rstrip() + "\n"


def _lines(draft: BundleDraft) -> Iterator[str]:
    yield f"# {_plain(draft.device.title)} ({_plain(draft.target)})\n"
    for warning in draft.warnings():
        yield f"**{_plain(warning)}**\n"
    yield "| artifact | variant | loaded by | MACs in int8 |\n|---|---|---|---|"
    for artifact in draft.artifacts:
        share = "not counted" if artifact.macs is None else _mac_words(artifact.macs)
        yield f"| {_code(artifact.main)} | {artifact.variant} | {_plain(artifact.runtime)} | {share} |"
    for component in draft.components:
        yield from _component_lines(component)
    yield from _placement_lines(draft.artifacts)
    yield "\n## Proof\n"
    for parity in draft.parities:
        yield from _parity_lines(parity)
    if draft.extras:
        yield "\n## Beside the artifacts\n"
        yield from (f"- {_code(name)}" for name in sorted(draft.extras))
    yield "\n## Prove it again\n\n    edgekit verify .\n"
    yield "It checks every byte, runs the golden samples in `golden/` and compares with the stored outputs."
    yield "Measurements lie beside this folder and name its digest; nothing inside ever changes."


def _mac_words(macs: MacShare) -> str:
    return "; ".join((f"{macs.share:.1%}", *macs.other_words()))


def _component_lines(component: ComponentDraft) -> Iterator[str]:
    yield f"\n## Component {_code(component.name)}\n"
    yield f"Licence: {_plain(component.licence or 'unknown; ask whoever made the model')}\n"
    yield "| tensor | direction | dtype | shape | layout |\n|---|---|---|---|---|"
    for direction, tensors in (("input", component.inputs), ("output", component.outputs)):
        for tensor in tensors:
            shape = ", ".join("?" if dim is None else str(dim) for dim in tensor.shape)
            yield (
                f"| {_code(tensor.name)} | {direction} | {tensor.dtype} | {_plain(shape)} |"
                f" {tensor.layout or 'not known'} |"
            )
    for name, spec in sorted(component.preprocessing.items()):
        yield f"\nBefore {_code(name)}: {_code(json.dumps(spec, sort_keys=True))}"


def _placement_lines(artifacts: Sequence[Artifact]) -> Iterator[str]:
    """Where a compiler placed the operators; nothing where none did here."""
    placed = [(one, row) for one in artifacts for row in one.placements]
    if placed:
        yield "\n## Where operators run\n"
        yield "| artifact | unit | operators | how it is known, and why not elsewhere |\n|---|---|---|---|"
    for one, row in placed:
        count = "not told" if row.ops is None else row.ops
        yield f"| {_code(one.main)} | {_plain(row.unit)} | {count} | {_plain(row.why)} |"


def _parity_lines(parity: Parity) -> Iterator[str]:
    title = f"{_plain(parity.component)} {parity.variant}"
    if parity.status == "unproven":
        yield f"- {title}: unproven on the host: {_plain(parity.reason)}"
        return
    runs = "equal" if parity.runs_equal else "DIFFERENT"
    yield f"- {title}: {parity.samples} samples, second run {runs}. {_plain(parity.reason)}"
    yield from (f"  - against fp32, {_told(output)}" for output in parity.against_fp32)
    yield from (f"  - against the Q/DQ reference, {_told(output)}" for output in parity.against_reference)
    if parity.task is not None:
        task = parity.task
        scores = f"fp32 {task.fp32:.4f}, artifact {task.artifact:.4f} ({task.samples} samples)"
        yield f"  - {_plain(task.metric)}: {scores}"


def _told(output: OutputParity) -> str:
    sqnr = "equal" if output.sqnr_db == math.inf else f"SQNR {output.sqnr_db:.1f} dB"
    top1 = "" if output.top1 is None else f", top-1 agreement {output.top1:.3f}"
    apart = f"cosine {output.cosine:.4f}, largest difference {output.max_abs:.3g}"
    return f"{_code(output.output)}: {sqnr}, {apart}{top1}"


def _code(text: str) -> str:
    """Text from a model as a code span that it can't end."""
    return f"`{_one_line(text).replace('`', chr(39)).replace('|', '/')}`"


def _plain(text: str) -> str:
    """Text without the characters that Markdown or HTML would read."""
    kept = _one_line(text)
    for mark in "<>|`*_[]!#":
        kept = kept.replace(mark, f"\\{mark}")
    return kept


def _one_line(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)
