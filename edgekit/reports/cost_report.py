"""A fleet's yearly cost for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.reports.terminal import clean, table

if TYPE_CHECKING:
    from edgekit._fleet_cost import FleetCost


def render_cost(cost: FleetCost) -> str:
    """A row a way, what each rests on below."""
    rows = [
        (
            row.name,
            row.where,
            *(_money(value) for value in (row.energy, row.hardware, row.service, row.total)),
        )
        for row in cost.rows
    ]
    head = ["", "where", "energy", "hardware", "service", f"a year, {cost.currency}"]
    told = [clean(f"  {row.name}: {row.basis}") for row in cost.rows]
    shown = [
        (*row[:2], *("" if _absent(row[1], index) else cell for index, cell in enumerate(row[2:])))
        for row in rows
    ]
    return "\n".join(
        [f"{cost.requests:,.0f} inferences a year", table(head, shown, right=(2, 3, 4, 5)), *told]
    )


def _absent(where: str, column: int) -> bool:
    """An endpoint has no energy or hardware of its own, a device no service."""
    return column in ((0, 1) if where == "endpoint" else (2,))


def _money(value: float | None) -> str:
    return "unknown" if value is None else f"{value:,.2f}"
