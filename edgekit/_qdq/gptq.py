"""GPTQ: each column of a weight is rounded in turn, and the columns behind it make up for its error.

What counts is not the weight but its product with the data it meets: with H the sum of x x' over the
calibration samples, the error e of a row costs e H e'. (Frantar et al. 2022, arXiv 2210.17323: Cholesky
factor of the inverse, columns in the order of falling diagonal, scales fixed beforehand.)
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from edgekit._qdq.round_weights import RoundedWeight, code_range, ratio_db, round_weight

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekit._qdq.round_weights import Grouping
    from edgekit._schemes import WeightBits

    Floats = NDArray[np.float32]
    Factor = tuple[NDArray[np.intp], Floats]

METHOD = "gptq: rounded column by column, the later ones making up for the error on the calibration samples"
_COLUMNS = 128  # rounded before their error goes to all columns behind them: one matrix product, not 128
_DAMPING = (0.01, 0.1, 1.0)  # of the mean diagonal, until the factor exists


def gptq_weight(weight: Floats, hessian: Floats, bits: WeightBits, grouping: Grouping) -> RoundedWeight:
    """Codes of a weight [K, N] or [N, K] that make up for each other's errors under H [K, K].

    Each scale's clip is chosen with a column's error weighed by the diagonal of H. The plainly rounded
    weight is returned where it is nearer under H itself, or where H has no factor even when damped.
    """
    importance = np.ascontiguousarray(np.diagonal(hessian))
    plain = round_weight(weight, bits, grouping, importance=importance)
    rows = weight if grouping.summed == 1 else weight.T
    spread = _spread_scales(plain, grouping, rows.shape)
    found = [_judged(plain, rows, spread, (hessian, grouping))]
    factor = _factor(hessian)
    if factor is not None:
        codes = _round_columns(rows, spread, factor, code_range(bits, grouping))
        turned = codes if grouping.summed == 1 else np.ascontiguousarray(codes.T)
        made = replace(plain, codes=turned, method="gptq")
        found.append(_judged(made, rows, spread, (hessian, grouping)))
    return max(found, key=lambda item: item.product_db or 0.0)


def _factor(hessian: Floats) -> Factor | None:
    """Columns in the order they are rounded, and the upper factor U of the damped inverse, U' U."""
    diagonal = np.diagonal(hessian).astype(np.float64)
    if not diagonal.any():
        return None
    order = np.argsort(-diagonal, kind="stable")
    for share in _DAMPING:
        damped = hessian[np.ix_(order, order)].astype(np.float64)
        damped[np.diag_indices_from(damped)] += share * diagonal.mean()
        try:
            # H = R R' with R upper (the factor of H read backwards), so inv(R) is the factor of inv(H).
            upper = np.linalg.inv(np.linalg.cholesky(damped[::-1, ::-1])[::-1, ::-1])
        except np.linalg.LinAlgError:
            continue
        if np.isfinite(upper).all():
            return order, upper.astype(np.float32)
    return None


def _round_columns(rows: Floats, spread: Floats, factor: Factor, limits: tuple[int, int]) -> NDArray[np.int8]:
    """Codes [N, K] of rows [N, K] with the scales `spread` [N, K or 1]."""
    order, upper = factor
    left = np.array(rows[:, order], np.float32, order="F")
    codes = np.empty(rows.shape, np.int8, order="F")
    for start in range(0, len(order), _COLUMNS):
        stop = min(start + _COLUMNS, len(order))
        errors = np.empty((len(rows), stop - start), np.float32, order="F")
        for column in range(start, stop):
            scale = spread[:, order[column] if spread.shape[1] > 1 else 0]
            rounded = np.clip(np.rint(left[:, column] / scale), *limits)
            codes[:, order[column]] = rounded
            error = (left[:, column] - rounded * scale) / upper[column, column]
            left[:, column:stop] -= np.outer(error, upper[column, column:stop])
            errors[:, column - start] = error
        left[:, stop:] -= errors @ upper[start:stop, stop:]
    return codes


def _spread_scales(made: RoundedWeight, grouping: Grouping, shape: tuple[int, ...]) -> Floats:
    """Scales of rows [N, K]: one a weight, or [N, 1] where a whole row shares one."""
    if not grouping.block:
        return made.scales.reshape(shape[0], 1)
    scales = made.scales if grouping.summed == 1 else made.scales.T
    return np.repeat(scales, grouping.block, axis=1)


def _judged(
    made: RoundedWeight, rows: Floats, spread: Floats, against: tuple[Floats, Grouping]
) -> RoundedWeight:
    """The same with its errors: of the weight, and of its product with the data behind H."""
    hessian, grouping = against
    codes = made.codes if grouping.summed == 1 else made.codes.T
    error = codes * spread
    error -= rows
    signal, noise = (float(np.einsum("nk,nk->", part @ hessian, part)) for part in (rows, error))
    return replace(
        made,
        sqnr_db=ratio_db(_squares(rows), _squares(error)),
        product_db=ratio_db(signal, max(noise, 0.0)),
    )


def _squares(array: Floats) -> float:
    return float(np.einsum("nk,nk->", array, array, dtype=np.float64))
