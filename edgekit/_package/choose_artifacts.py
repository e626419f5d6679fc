"""Which of a bundle's artifacts go into a package: those asked for, of those the platform can run."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.errors import TargetError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgekit._bundle import Bundle
    from edgekit._values import Artifact


def choose_artifacts(bundle: Bundle, form: str, variants: str | Sequence[str]) -> tuple[Artifact, ...]:
    """All artifacts that passed their gate and whose files the platform runs, or those of `variants`.

    UsageError for a variant that the bundle lacks; TargetError where the platform runs none of its files,
    or where one that is asked for fell short of its gate: nothing below its gate is presented as good.
    """
    asked = (variants,) if isinstance(variants, str) else tuple(variants)
    known = list(dict.fromkeys(artifact.variant for artifact in bundle.artifacts))
    for variant in asked:
        if variant not in known:
            raise UsageError(f"the bundle has no variant '{variant}'", fix=f"it has: {', '.join(known)}")
    wanted = [artifact for artifact in bundle.artifacts if not asked or artifact.variant in asked]
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


def runtime_of(form: str, artifact: Artifact) -> str:
    """What of the platform runs the artifact's main file; "" where nothing does; "any" for mere storage."""
    runtimes = _table().get(form)
    return "any" if runtimes is None else runtimes.get(Path(artifact.main).suffix, "")


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
