"""What `convert --dry-run` prints: the bundles to be, their gaps and their budget."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.registry import software_words
from edgekit.reports.convert_report import gap_line
from edgekit.reports.terminal import clean, table

if TYPE_CHECKING:
    from edgekit._plan import ConvertPlan
    from edgekit._recipe import Recipe


def render_plan(plan: ConvertPlan, recipe: Recipe) -> str:
    """The plan of one convert: one row a bundle, then every gap."""
    rows = [
        (
            target.device.name,
            software_words(target.device),
            ", ".join(target.precisions),
            target.scheme,
            str(plan.output / target.device.name),
            "ready" if target.possible else "GAPS",
        )
        for target in plan.targets
    ]
    lines = [clean(note) for note in plan.notes]
    lines += [clean(f"model: {plan.model} (sha256 {plan.digest[:12]})"), clean(f"samples: {plan.samples}")]
    lines += [
        f"budget: {clean(', '.join(f'{name} {limit}' for name, limit in recipe.budget.items()))}"
    ] * bool(recipe.budget)
    lines.append(table(("bundle", "software", "variants", "int8 scheme", "folder", "state"), rows))
    lines += [f"  {target.device.name}: {gap_line(gap)}" for target in plan.targets for gap in target.gaps]
    lines.append("dry run: nothing was written")
    return "\n".join(lines)
