"""Inputs that are always the same (a sample rate) -> initializers with that value."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir

from edgekit.errors import ModelError
from edgekit.passes._rewire import initializer_from

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np


def bind_inputs(model: ir.Model, values: Mapping[str, np.ndarray]) -> int:
    """Make each named input a constant of the given value (dtype and shape of the input); returns how many.

    Raises ModelError for an unknown input or a value that doesn't fit it.
    """
    for name, array in values.items():
        value = next((value for value in model.graph.inputs if value.name == name), None)
        if value is None or value.dtype is None:
            names = ", ".join(f"'{value.name}'" for value in model.graph.inputs)
            raise ModelError(f"the model has no input '{name}'", fix=f"its inputs are {names}")
        shape = [] if value.shape is None else list(value.shape)
        fits = array.ndim == len(shape) and all(
            not isinstance(dim, int) or dim == size for dim, size in zip(shape, array.shape, strict=True)
        )
        if not fits:
            raise ModelError(
                f"the value bound to input '{name}' has shape {list(array.shape)}, the input {shape}",
                fix="give a value of the input's shape",
            )
        constant = initializer_from(ir.tensor(array.astype(value.dtype.numpy())), name)
        model.graph.inputs.remove(value)
        value.replace_all_uses_with(constant)
        model.graph.register_initializer(constant)
    return len(values)
