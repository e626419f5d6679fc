"""MatMul -> Add of one constant a column -> Q: the sum becomes the int32 bias of one int8 product."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgekit.passes._rewire import Names, constant_array, graph_of
from edgekit.targets.litert.graph import Quant
from edgekit.targets.litert.quantized_values import integers_of, sole_quantizer

if TYPE_CHECKING:
    from collections.abc import Collection

    import onnx_ir as ir
    from numpy.typing import NDArray

    from edgekit.targets.litert.quantized_values import Quants

_LARGEST = 2.0**31 - 1


def fold_bias(model: ir.Model, quants: Quants, keep_float: Collection[str]) -> None:
    """Rewrite in place: such a MatMul gets the bias as its third input, and the Add goes."""
    names = Names(model)
    for add in tuple(model.graph):
        if add.op_type != "Add" or add.domain or sole_quantizer(add.outputs[0], quants) is None:
            continue
        for product, term in (add.inputs, add.inputs[::-1]):
            matmul = product.producer() if product is not None else None
            column = constant_array(term)
            if matmul is None or matmul.op_type != "MatMul" or matmul.domain or column is None:
                continue
            codes = None if matmul.name in keep_float else _read_bias(matmul, column, quants)
            if codes is not None:
                _append(matmul, names, codes, quants)
                add.outputs[0].replace_all_uses_with(matmul.outputs[0])
                graph_of(add).remove(add, safe=True)
            break


def _read_bias(
    matmul: ir.Node, column: NDArray[np.generic], quants: Quants
) -> tuple[NDArray[np.int32], Quant] | None:
    """(integers, scales) of the column; None where the product has another reader, or no int32 form."""
    product = matmul.outputs[0]
    source, weight = (integers_of(value, quants) for value in matmul.inputs[:2])
    if len(product.uses()) != 1 or product.is_graph_output() or source is None or weight is None:
        return None
    codes = constant_array(weight)
    if codes is None or codes.ndim != 2 or column.size != codes.shape[1] or column.shape[-1] != column.size:
        return None
    units = quants[source].scale * np.asarray(quants[weight].scales, np.float64)
    bias = np.rint(column.reshape(-1).astype(np.float64) / units)
    if not np.all(np.abs(bias) <= _LARGEST):
        return None
    return bias.astype(np.int32), Quant(tuple(map(float, units.astype(np.float32))))


def _append(matmul: ir.Node, names: Names, bias: tuple[NDArray[np.int32], Quant], quants: Quants) -> None:
    value = names.add_initializer(graph_of(matmul), f"{matmul.name}/bias", bias[0])
    quants[value] = bias[1]
    matmul.resize_inputs(3)
    matmul.replace_input_with(2, value)
