"""What the host itself knows of a bundle in a budget's words: its size, and what INT8 lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit._bundle.results import read_artifacts, read_parities
from edgekit._results import Measurement

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edgekit._bundle.read import Bundle
    from edgekit._results import Parity
    from edgekit._values import Artifact


def host_figures(bundle: Bundle) -> tuple[Measurement, ...]:
    """Size of what the device loads, and the accuracy loss, of the first variant of each component.

    Random golden data prove arithmetic: no accuracy is told from them.
    """
    offered = {artifact.component: artifact for artifact in reversed(read_artifacts(bundle))}
    size = loaded_size(tuple(offered.values()), bundle.folder)
    mains = ", ".join(sorted(artifact.main for artifact in offered.values()))
    rows = [Measurement("size", float(size), "B", "measured", f"{mains} on disk")]
    random = {row["name"] for row in bundle.manifest["components"] if row["golden"]["kind"] == "random"}
    wanted = {(one.component, str(one.variant)) for one in offered.values() if one.component not in random}
    loss = accuracy_loss([one for one in read_parities(bundle) if (one.component, one.variant) in wanted])
    return tuple(rows) if loss is None else (*rows, loss)


def loaded_size(artifacts: Sequence[Artifact], folder: Path) -> int:
    """Bytes that a runtime loads of these artifacts; a file that two share counts once."""
    files = {name for artifact in artifacts for name in artifact.loaded}
    return sum((folder / name).stat().st_size for name in files)


def accuracy_loss(parities: Sequence[Parity]) -> Measurement | None:
    """Percent, the worst: what the task metric lost, else the share of rows with another top-1 than fp32."""
    lost: list[tuple[float, str]] = []
    for parity in parities:
        if parity.task is not None:
            lost.append((100 * parity.task.drop, f"{parity.task.metric} on {parity.task.samples} samples"))
        else:
            losses = [output.top1_loss for output in parity.against_fp32 if output.top1_loss is not None]
            lost += [(100 * loss, f"top-1 against fp32, {parity.samples} samples") for loss in losses]
    if not lost:
        return None
    worst = max(lost)
    return Measurement("accuracy_loss", worst[0], "%", "measured", f"{worst[1]}, on the host")
