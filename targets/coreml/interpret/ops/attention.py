"""Attention as one operation."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgekit.targets.coreml.interpret.ops.activation import softmax

Array = np.ndarray


def _attention(query: Array, key: Array, value: Array, attn_mask: Array | None = None) -> Array:
    """softmax(query @ key^T / sqrt(E) + mask) @ value; a bool mask says which places take part.

    query [*B, L, E], key [*B, S, E], value [*B, S, EV], a mask that broadcasts to [*B, L, S]. A row whose
    mask lets nothing take part is NaN, as the documented formula makes it.
    """
    scores = query @ np.swapaxes(key, -1, -2) / np.float32(np.sqrt(query.shape[-1]))
    if attn_mask is not None:
        added = np.where(attn_mask, 0, -np.inf) if attn_mask.dtype == bool else attn_mask
        scores = scores + added.astype(np.float32)
    made: Array = softmax(scores) @ value
    return made


COMPUTES: dict[str, Any] = {"scaled_dot_product_attention": _attention}
