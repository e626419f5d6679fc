"""Check one sample against the model's inputs, and bring it into their form where nothing is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgekit.errors import SamplesError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgekit._values import TensorInfo

    Array = np.ndarray[tuple[int, ...], np.dtype[np.generic]]


def fit_sample(name: str, feeds: Mapping[str, Array], inputs: Sequence[TensorInfo]) -> dict[str, Array]:
    """The feeds in the inputs' dtypes and shapes, contiguous; whatever does not fit raises SamplesError.

    A batch axis of 1 is added where the input's first dim is 1 or free and one axis is missing.
    float16 and float64 become float32 (float64 is rounded to the nearest), integers another integer type
    that holds every value; nothing else is converted.
    """
    wanted = {info.name: info for info in inputs}
    if set(feeds) != set(wanted):
        raise SamplesError(
            f"sample '{name}' has inputs {_list(feeds)}, the model reads {_list(wanted)}",
            fix="name the arrays as `edgekit inspect` names the inputs",
        )
    return {key: fit_array(name, feeds[key], info) for key, info in wanted.items()}


def fit_array(sample: str, array: Array, info: TensorInfo) -> Array:
    """One array as the input `info` wants it; the same rules as `fit_sample`."""
    where = f"sample '{sample}', input '{info.name}'"
    shape = fit_shape(where, array.shape, info)
    array = _cast(where, array, info)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise SamplesError(
            f"{where}: {int((~np.isfinite(array)).sum())} values are NaN or infinite",
            fix="remove the sample or mend how it is made",
        )
    return np.ascontiguousarray(array.reshape(shape))


def fit_shape(where: str, shape: tuple[int, ...], info: TensorInfo) -> tuple[int, ...]:
    """`shape` with the batch axis it may lack; free dims (str, None) take any size from 1 up."""
    full = shape
    if len(shape) == len(info.shape) - 1 and (info.shape[0] == 1 or not isinstance(info.shape[0], int)):
        full = (1, *shape)
    matches = len(full) == len(info.shape) and all(
        size == dim if isinstance(dim, int) else size > 0 for size, dim in zip(full, info.shape, strict=True)
    )
    if not matches or 0 in full:
        expected = ", ".join("any" if dim is None else str(dim) for dim in info.shape)
        raise SamplesError(
            f"{where} has shape [{', '.join(map(str, shape))}], expected [{expected}]",
            fix="give the sample that shape, or choose other dims with --shape",
        )
    return full


def _cast(where: str, array: Array, info: TensorInfo) -> Array:
    wanted = np.dtype(info.dtype)
    if array.dtype == wanted:
        return array
    if array.dtype.kind in "iu" and wanted.kind in "iu":
        limits = np.iinfo(wanted)
        if array.size and int(array.min()) >= limits.min and int(array.max()) <= limits.max:
            return array.astype(wanted)
        problem = f"has {array.dtype} values outside {wanted}"
    elif array.dtype.newbyteorder("=") in (np.float16, np.float32, np.float64) and wanted == np.float32:
        return _round_floats(where, array)
    else:
        problem = f"has dtype {array.dtype}, expected {wanted}"
    hint = (
        "divide pixels by 255 (or give a folder of images and --preprocess)" if wanted.kind == "f" else "save"
    )
    raise SamplesError(f"{where} {problem}", fix=f"{hint} as {wanted}")


def _round_floats(where: str, array: Array) -> Array:
    with np.errstate(over="ignore"):
        rounded = array.astype(np.float32)
    if np.isinf(rounded).sum() != np.isinf(array).sum():
        raise SamplesError(f"{where} has {array.dtype} values beyond float32", fix="save it as float32")
    return rounded


def _list(names: Mapping[str, object]) -> str:
    return ", ".join(f"'{name}'" for name in sorted(names)) or "none"
