"""Rotary embedding as one matrix product, for one axis of positions or three (mrope, interleaved too)."""

from __future__ import annotations

from typing import Any

import torch

_PLACES = (0, 1, 7, 100)  # where the product must equal the module that it takes the place of
_TOLERANCE = 1e-5


class Rotary(torch.nn.Module):
    """position_ids [1, n] or [axes, 1, n] -> cos and sin [1, n, head size] of positions @ table.

    table [axes, half the head size] holds each frequency in the row of the axis it belongs to.
    """

    table: torch.Tensor

    def __init__(self, table: torch.Tensor, scale: float) -> None:
        super().__init__()
        self.register_buffer("table", table)
        self.scale = scale

    def forward(self, hidden: torch.Tensor, position_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The two factors, in the dtype of `hidden`."""
        places = position_ids.to(self.table.dtype)
        rows = places[..., None] if places.ndim == 2 else places.permute(1, 2, 0)
        half = rows @ self.table
        angles = torch.cat((half, half), -1)
        return (angles.cos() * self.scale).to(hidden.dtype), (angles.sin() * self.scale).to(hidden.dtype)


def replace_rotary(body: Any, axes: int) -> None:
    """Put a `Rotary` in place of a decoder's own one, where it gives the same; else leave that one.

    Which frequency belongs to which axis is read from the module itself: a position of 1 on one axis alone
    turns those of that axis.
    """
    own = getattr(body, "rotary_emb", None)
    frequencies = getattr(own, "inv_freq", None)
    if own is None or not isinstance(frequencies, torch.Tensor) or isinstance(own, Rotary):
        return
    hidden = torch.zeros(1, 1, 1)
    with torch.no_grad():
        turned = [own(hidden, _positions(axes, axis, 1))[1][0, 0] for axis in range(axes)]
        rows = [torch.where(sines[: len(frequencies)] != 0, frequencies, 0) for sines in turned]
        made = Rotary(torch.stack(rows).float(), float(getattr(own, "attention_scaling", 1.0)))
        for place in _PLACES:
            for axis in range(axes):
                given = _positions(axes, axis, place)
                for got, want in zip(made(hidden, given), own(hidden, given), strict=True):
                    if got.shape != want.shape or float((got - want).abs().max()) > _TOLERANCE:
                        return
    body.rotary_emb = made


def _positions(axes: int, axis: int, place: int) -> torch.Tensor:
    """One token at `place` on one axis and 0 on the others."""
    if axes == 1:
        return torch.tensor([[place]])
    found = torch.zeros(axes, 1, 1, dtype=torch.long)
    found[axis] = place
    return found
