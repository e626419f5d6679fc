"""Which of a bundle's artifacts go into a package: those asked for, of those the platform can run."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit._bundle import read_parities
from edgekit._feasibility import device_latencies
from edgekit._guard import choose_offers
from edgekit.errors import TargetError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgekit._bundle import Bundle
    from edgekit._package.job import PackageWords
    from edgekit._profile import Profile
    from edgekit._values import Artifact


def choose_artifacts(bundle: Bundle, form: str, words: PackageWords) -> tuple[Artifact, ...]:
    """All artifacts that passed their gate and whose files the platform runs, or those that are asked for.

    UsageError for a variant or component that the bundle lacks; TargetError where the platform runs none of
    its files, or where one that is asked for fell short of its gate: nothing below its gate is presented
    as good.
    """
    component, asked = words.get("component"), _asked(words)
    _refuse_unknown("variant", asked, [artifact.variant for artifact in bundle.artifacts])
    named = (component,) if component else ()
    _refuse_unknown("component", named, [artifact.component for artifact in bundle.artifacts])
    wanted = [
        artifact
        for artifact in bundle.artifacts
        if (not asked or artifact.variant in asked) and (not component or artifact.component == component)
    ]
    failed = _failed(bundle)
    if asked and (short := [artifact for artifact in wanted if _key(artifact) in failed]):
        raise TargetError(
            f"{short[0].main} fell short of its gate: {failed[_key(short[0])]}",
            fix="package another variant, or convert again with more samples or --max-drop",
        )
    kept = tuple(item for item in wanted if _key(item) not in failed and runtime_of(form, item))
    if not kept:
        endings = ", ".join(sorted({Path(artifact.main).suffix for artifact in wanted}))
        fit = ", ".join(sorted(_table()[form]))
        raise TargetError(
            f"{form} runs no {endings} file, and this bundle for {bundle.target} holds no other",
            fix=f"convert for a target whose files it runs ({fit})",
        )
    return kept


def choose_one(
    bundle: Bundle,
    artifacts: tuple[Artifact, ...],
    form: str,
    words: PackageWords,
    profiles: Sequence[Profile],
) -> tuple[Artifact, ...]:
    """The artifact that is asked for, or that the INT8 guard offers; UsageError where more are wanted."""
    components = dict.fromkeys(artifact.component for artifact in artifacts)
    if len(components) > 1:
        raise UsageError(
            f"{form} holds one model, and the bundle has the components {', '.join(components)}",
            fix="package each on its own: --component NAME",
        )
    if len(set(_asked(words))) > 1:
        raise UsageError(f"{form} holds one model", fix="name one --variant, and package again for another")
    if _asked(words):
        return artifacts[:1]
    # Sizes are left out: a few bytes more decide nothing on a server, a slower INT8 does.
    (offer,) = choose_offers(artifacts, read_parities(bundle), {}, device_latencies(profiles))
    return tuple(artifact for artifact in artifacts if artifact.variant == offer.variant)


def tell_left_out(bundle: Bundle, form: str, kept: Sequence[Artifact]) -> list[str]:
    """A line for each artifact that is not in a package of `form`, with the reason."""
    failed = _failed(bundle)
    lines = []
    for artifact in bundle.artifacts:
        if artifact in kept:
            continue
        if _key(artifact) in failed:
            reason = "it fell short of its gate"
        elif not runtime_of(form, artifact):
            reason = f"{form} does not run it"
        else:
            reason = f"--variant {artifact.variant} asks for it"
        lines.append(f"left out: {artifact.main}; {reason}")
    return lines


def runtime_of(form: str, artifact: Artifact) -> str:
    """What of the platform runs the artifact's main file; "" where nothing does; "any" for mere storage."""
    runtimes = _table().get(form)
    return "any" if runtimes is None else runtimes.get(Path(artifact.main).suffix, "")


def _asked(words: PackageWords) -> tuple[str, ...]:
    variants = words.get("variants", ())
    return (variants,) if isinstance(variants, str) else tuple(variants)


def _refuse_unknown(kind: str, asked: Sequence[str], held: Sequence[str]) -> None:
    for name in asked:
        if name not in held:
            known = ", ".join(dict.fromkeys(held))
            raise UsageError(f"the bundle has no {kind} '{name[:80]}'", fix=f"it has: {known}")


def _failed(bundle: Bundle) -> dict[tuple[str, str], str]:
    """(component, variant) -> why it failed its gate."""
    rows = [row for row in bundle.manifest["parity"] if row["gate_failures"] or not row["runs_equal"]]
    return {
        (row["component"], row["variant"]): "; ".join(row["gate_failures"]) or "its two runs differ"
        for row in rows
        if row["status"] == "proven"
    }


def _key(artifact: Artifact) -> tuple[str, str]:
    return artifact.component, artifact.variant


@cache
def _table() -> dict[str, dict[str, str]]:
    text = Path(__file__).with_name("platforms.toml").read_text(encoding="utf-8")
    table: dict[str, dict[str, str]] = tomllib.loads(text)["runtimes"]
    return table
